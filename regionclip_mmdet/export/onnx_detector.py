# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""An exported detector, run by onnxruntime and NumPy alone.

This file imports nothing of its package, and ``tools/export_onnx.py`` lays a copy beside the
graphs: a deployment needs that folder, ``onnxruntime``, ``numpy`` and, to resize images as the
model's test pipeline does, ``pillow`` or ``opencv``. Symbols: ``N`` regions, ``K`` names, ``D``
size of an embedding, ``M`` detections.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS_FILE, VOCABULARY_FILE = 'detector.json', 'vocabulary.npz'
Detections = dict[str, np.ndarray]


class OnnxDetector:
    """Detects the classes of a vocabulary.

    It encodes all regions: the early exit of the PyTorch model (fewer regions where objectness
    enters the scores, same detections) is not repeated here.

    Args:
        folder: Written by ``tools/export_onnx.py``.
        threads: Of onnxruntime; 0 leaves it the choice.
        providers: Of onnxruntime, best first.
        chunk_size: Regions to be encoded at a time, which bounds memory.

    Attributes:
        names: The ``K`` names it was exported with.
        text: Their embeddings, ``(K, D)``.
    """

    suffix = '.onnx'

    def __init__(
        self,
        folder: str | Path,
        threads: int = 0,
        providers: Sequence[str] = ('CPUExecutionProvider',),
        chunk_size: int = 256,
    ) -> None:
        folder = Path(folder)
        self.settings = _read_settings(folder / SETTINGS_FILE)
        self.names, self.text = _read_vocabulary(folder / VOCABULARY_FILE)
        self.chunk_size = chunk_size
        self.threads, self.providers = threads, list(providers)
        self._paths = {path.stem: path for path in folder.glob(f'*{self.suffix}')}
        self._sessions: dict[str, Any] = {}

    def __call__(
        self,
        image: np.ndarray,
        text: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        objectness: str | None = None,
    ) -> Detections:
        """Detections of an image.

        Args:
            image: RGB, uint8 ``(H, W, 3)``.
            text: Embeddings ``(K, D)`` of other names, of any norm.
            boxes: Regions ``(N, 4)`` in the image's pixels, instead of the localizer's; what
                reaches out of the image is cut off.
            objectness: ``'none'`` in place of the configured fusion: given boxes have none.

        Returns:
            In descending score order: ``boxes (M, 4)`` in the image's pixels, ``scores (M,)``,
            ``labels (M,)`` (rows of ``text``) and raw region ``embeddings (M, D)``.

        Raises:
            ValueError: Something that is needed was neither given nor exported.
        """
        text = self.text if text is None else np.asarray(text, np.float32)
        if text is None:
            raise ValueError(f'No text: give embeddings (K, D); {VOCABULARY_FILE} is not there.')
        resized, scale = resize(image, self.settings['resize'])
        pixels = np.ascontiguousarray(resized.transpose(2, 0, 1)[None], np.float32)
        if boxes is not None:
            boxes = np.asarray(boxes, np.float32) * np.tile(scale, 2).astype(np.float32)
            boxes = clip(boxes, resized.shape[:2])
        cfg = dict(self.settings['test_cfg'])
        cfg['objectness'] = objectness or cfg['objectness']
        logits, embeddings, probabilities, regions = self._run_graphs(pixels, text, boxes)
        found = select(clip(regions, resized.shape[:2]), probabilities, logits, cfg)
        found['boxes'] = np.minimum(
            found['boxes'] / np.tile(scale, 2).astype(np.float32),
            np.array(image.shape[1::-1] * 2, np.float32),
        )
        found['embeddings'] = embeddings[found.pop('regions')]
        visible = (found['boxes'][:, 2:] > found['boxes'][:, :2]).all(1)
        return {key: values[visible] for key, values in found.items()}

    def _run_graphs(
        self, image: np.ndarray, text: np.ndarray, boxes: np.ndarray | None
    ) -> tuple[Any, ...]:
        """Objectness logits, embeddings, probabilities and refined boxes of all regions."""
        if boxes is None and 'localizer' not in self._paths and 'detector' in self._paths:
            return tuple(self._run('detector', image=image, text=text)[1:])
        missing = {'backbone', 'regions', *(['localizer'] if boxes is None else [])}
        missing -= set(self._paths)
        if missing:
            raise ValueError(
                f'The folder has no {self.suffix} file of: {", ".join(sorted(missing))}. There is: '
                f'{", ".join(sorted(self._paths))}. Export it too, or give boxes to a model that '
                'has no localizer.'
            )
        objectness = None
        if boxes is None:
            boxes, objectness = self._run('localizer', image=image)
        (c4,) = self._run('backbone', image=image)
        starts = range(0, max(len(boxes), 1), self.chunk_size)
        chunks = [
            self._run('regions', c4=c4, boxes=boxes[i : i + self.chunk_size], text=text)
            for i in starts
        ]
        return objectness, *(np.concatenate(parts) for parts in zip(*chunks, strict=True))

    def _run(self, graph: str, **inputs: np.ndarray) -> list[np.ndarray]:
        if graph not in self._sessions:
            self._sessions[graph] = self._open(self._paths[graph])
        return self._sessions[graph].run(None, inputs)

    def _open(self, path: Path) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        return onnxruntime.InferenceSession(str(path), options, providers=self.providers)


def _read_settings(path: Path) -> dict[str, Any]:
    with _naming(path):
        settings = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(settings['test_cfg'], dict):
            raise ValueError('test_cfg is no mapping')
        settings['resize']  # noqa: B018  (must be there; may be None)
        return settings


def _read_vocabulary(path: Path) -> tuple[tuple[str, ...], np.ndarray | None]:
    if not path.exists():
        return (), None
    with _naming(path), np.load(path, allow_pickle=False) as vocabulary:
        names, text = vocabulary['names'], vocabulary['embeddings']
        if text.ndim != 2 or names.shape != text.shape[:1] or text.dtype.kind != 'f':
            raise ValueError(f'{names.shape} names have {text.dtype} embeddings {text.shape}')
        return tuple(map(str, names.tolist())), text


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in whatever reading a damaged one raises."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile's, zlib's, numpy's and json's
        raise ValueError(
            f'{path} is damaged, or not what it should be ({type(error).__name__}: {error}). '
            'Export or copy it again.'
        ) from None


def resize(image: np.ndarray, how: dict | None) -> tuple[np.ndarray, tuple[float, float]]:
    """An image in the size that the model's test pipeline gives it.

    Args:
        image: uint8 ``(H, W, 3)``.
        how: ``kind`` (``'edges'``: as large as fits into ``long`` and ``short`` pixels;
            ``'exact'``: ``width`` and ``height``), ``rounded`` (``'scale'``: both sides by one
            factor, as mmcv; ``'sides'``: step by step, as detectron2), ``backend``; None: as it is.

    Returns:
        The image and the factors of width and height.
    """
    height, width = image.shape[:2]
    if how is None:
        return image, (1.0, 1.0)
    if how['kind'] == 'exact':
        size = how['width'], how['height']
    else:
        size = _size_within(width, height, how)
    if size != (width, height):
        if how['backend'] == 'pillow':
            from PIL import Image

            image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        else:
            import cv2

            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return image, (size[0] / width, size[1] / height)


def _size_within(width: int, height: int, how: dict) -> tuple[int, int]:
    short, long = min(width, height), max(width, height)
    if how['rounded'] == 'scale':
        factor = min(how['long'] / long, how['short'] / short)
        return int(width * factor + 0.5), int(height * factor + 0.5)
    factor = how['short'] / short
    sides = [how['short'] if side == short else factor * side for side in (width, height)]
    if how['long'] and max(sides) > how['long']:
        factor = how['long'] / max(sides)
        sides = [side * factor for side in sides]
    return int(sides[0] + 0.5), int(sides[1] + 0.5)


def clip(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Boxes ``(N, 4)`` within an image of height and width ``shape``; NaN where not finite."""
    boxes = np.where(np.isfinite(boxes), boxes, np.float32(np.nan))
    return np.maximum(np.minimum(boxes, np.array(shape[::-1] * 2, np.float32)), np.float32(0))


def select(
    boxes: np.ndarray, probabilities: np.ndarray, objectness: np.ndarray | None, cfg: dict
) -> Detections:
    """Scores, threshold, NMS and top-k, as the PyTorch model does it.

    Args:
        boxes: Clipped, ``(N, 4)``.
        probabilities: ``(N, K)``.
        objectness: Logits ``(N,)``, where ``cfg`` wants them in the scores.
        cfg: ``score_thr``, ``nms``, ``max_per_img``, ``objectness``, ``report_scores``.

    Returns:
        ``boxes (M, 4)``, ``scores (M,)``, ``labels (M,)`` and ``regions (M,)``, rows of ``boxes``.

    Raises:
        ValueError: Objectness is wanted and was not given.
    """
    scores = fuse(probabilities, objectness, cfg['objectness'])
    finite = np.isfinite(boxes).all(1) & np.isfinite(scores).all(1)
    with np.errstate(invalid='ignore'):
        region, label = np.nonzero((scores > np.float32(cfg['score_thr'])) & finite[:, None])
    candidates, scores = boxes[region], scores[region, label]
    settings = dict(cfg['nms'])
    limit = cfg['max_per_img'] if cfg['max_per_img'] > 0 else len(region)
    if settings.pop('type') == 'nms':
        keep = hard_nms(candidates, scores, label, settings['iou_threshold'], limit)
        scores = scores[keep]
        if cfg['report_scores'] == 'class':
            scores = probabilities[region[keep], label[keep]]
    else:
        keep, scores = soft_nms(candidates, scores, label, limit, **settings)
    return dict(boxes=candidates[keep], scores=scores, labels=label[keep], regions=region[keep])


def fuse(probabilities: np.ndarray, objectness: np.ndarray | None, mode: str) -> np.ndarray:
    """Scores ``(N, K)``: probabilities, or the root of their product with the objectness."""
    if mode == 'none':
        return probabilities
    if objectness is None:
        raise ValueError(
            f"Scores with objectness ({mode!r}) need the localizer's regions; for boxes of your "
            "own give objectness='none'."
        )
    weight = objectness if mode == 'logit' else 1 / (1 + np.exp(-objectness))
    with np.errstate(invalid='ignore'):
        return np.sqrt(probabilities * weight[:, None].astype(np.float32))


def hard_nms(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, iou_threshold: float, limit: int
) -> np.ndarray:
    """Rows of the ``limit`` best boxes that no better one of their class overlaps too much."""
    boxes = boxes.astype(np.float64)
    keep: list[int] = []
    for row in np.argsort(-scores, kind='stable').tolist():
        if len(keep) == limit:
            break
        better = np.array(keep, dtype=np.int64)
        better = better[labels[better] == labels[row]]
        if not (iou(boxes[row], boxes[better]) > iou_threshold).any():
            keep.append(row)
    return np.array(keep, dtype=np.int64)


def soft_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    limit: int,
    method: str = 'gaussian',
    sigma: float = 0.5,
    iou_threshold: float = 0.5,
    min_score: float = 0.001,
    class_offset: str = 'float32',
) -> tuple[np.ndarray, np.ndarray]:
    """Take the best box, decay its class by the overlap with it, repeat (Bodla et al., 2017).

    Returns:
        Rows and decayed scores of at most ``limit`` boxes, in descending score order.
    """
    if class_offset == 'float32' and len(boxes):
        # classes moved aside in float32, as in the official code, which rounds coordinates
        boxes = boxes + labels.astype(np.float32)[:, None] * (boxes.max() + np.float32(1))
    left = scores.astype(np.float32)
    keep: list[int] = []
    taken: list[np.float32] = []
    while len(keep) < min(limit, len(boxes)):
        best = int(left.argmax())
        if not left[best] > (min_score if keep else -np.inf):
            break
        keep.append(best)
        taken.append(left[best])
        left[best] = -np.inf
        rows = np.flatnonzero((labels == labels[best]) & (left > -np.inf))
        overlap = iou(boxes[best], boxes[rows])
        if method == 'gaussian':
            decay = np.exp(-(overlap * overlap) / np.float32(sigma))
        elif method == 'linear':
            decay = np.where(overlap > iou_threshold, 1 - overlap, np.float32(1))
        else:
            decay = (overlap < iou_threshold).astype(np.float32)
        left[rows] *= decay
    return np.array(keep, dtype=np.int64), np.array(taken, dtype=np.float32)


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box ``(4,)`` with ``(M, 4)``; ``(M,)``."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    overlap = sides.clip(min=0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    union = areas + (box[2:] - box[:2]).prod() - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)
