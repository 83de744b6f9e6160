# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Whether an exported detector gives PyTorch's detections, and how long both take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..apis.image_inputs import ImageInputs
from ..datasets.transforms.load_image import decode_rgb
from .onnx_detector import Detections, OnnxDetector

SCORE_THR, TOLERANCE = 0.05, 1e-3
# Of scikit-image.
PHOTOGRAPHS = ('astronaut', 'coffee', 'chelsea', 'rocket')


@dataclass(frozen=True)
class ImageComparison:
    """Detections of one image by both.

    A detection above the threshold, of either side, is paired with the nearest one of the same
    name among *all* of the other's, so that scores on the threshold cannot tip the balance.

    Attributes:
        name: Of the image.
        counts: Detections above the threshold: PyTorch's, the exported detector's.
        unpaired: Detections without a partner (no other of that name is left on the other side).
        max_score_difference: Over all pairs.
        max_box_difference: Largest difference of a coordinate in pixels of the image.
        image_side: Longer side of the image in pixels.
        seconds: Median time of a detection, image array to detections: PyTorch's, the other's.
        cpu_seconds: The same in CPU time of all threads, which a busy machine changes less.
    """

    name: str
    counts: tuple[int, int]
    unpaired: int
    max_score_difference: float
    max_box_difference: float
    image_side: int
    seconds: tuple[float, float] = (math.nan, math.nan)
    cpu_seconds: tuple[float, float] = (math.nan, math.nan)

    def passes(self, tolerance: float = TOLERANCE) -> bool:
        """Whether there are detections, all paired, whose scores differ by at most ``tolerance``
        and whose boxes by at most ``tolerance`` times the image's longer side.
        """
        return (
            min(self.counts) > 0
            and self.unpaired == 0
            and self.max_score_difference <= tolerance
            and self.max_box_difference <= tolerance * self.image_side
        )

    def line(self, tolerance: float = TOLERANCE) -> str:
        """One line for people."""
        (torch_time, other_time), (torch_cpu, other_cpu) = self.seconds, self.cpu_seconds
        return (
            f'{self.name:<12} {self.counts[0]:>5} {self.counts[1]:>4} {self.unpaired:>8} '
            f'{self.max_score_difference:>10.2g} {self.max_box_difference:>11.2g} '
            f'{torch_time:>9.3f} {other_time:>9.3f} {other_time / torch_time:>6.2f} '
            f'{other_cpu / torch_cpu:>9.2f}  ' + ('same' if self.passes(tolerance) else 'DIFFERENT')
        )


HEADER = (
    f'{"image":<12} {"torch":>5} {"exp.":>4} {"unpaired":>8} {"score diff":>10} '
    f'{"box diff px":>11} {"torch s":>9} {"exp. s":>9} {"ratio":>6} {"CPU ratio":>9}'
)


def compare_with_torch(
    model: Any,
    exported: OnnxDetector,
    images: Mapping[str, np.ndarray],
    score_thr: float = SCORE_THR,
    repeats: int = 3,
) -> list[ImageComparison]:
    """Run both on the same arrays, in turn.

    Args:
        model: Of ``init_detector``: its ``cfg`` has the test pipeline.
        exported: Made of it, with as many threads as torch has.
        images: RGB, uint8 ``(H, W, 3)``, by name.
        score_thr: Detections at or below it are not compared.
        repeats: Timed runs of each, after one to warm up.
    """
    run_torch = torch_detector(model)
    found = []
    for name, image in images.items():
        compared = compare_detections(name, image, run_torch(image), exported(image), score_thr)
        # alternately, so that other load on the machine hits both
        times = [(_timed(run_torch, image), _timed(exported, image)) for _ in range(repeats)]
        if times:
            ours, theirs = (np.median(side, axis=0).tolist() for side in zip(*times, strict=True))
            wall, cpu = zip(ours, theirs, strict=True)
            compared = replace(compared, seconds=wall, cpu_seconds=cpu)
        found.append(compared)
    return found


def _timed(run: Callable, image: np.ndarray) -> tuple[float, float]:
    """Seconds and CPU seconds of a detection."""
    wall, cpu = time.perf_counter(), time.process_time()
    run(image)
    return time.perf_counter() - wall, time.process_time() - cpu


def torch_detector(model: Any) -> Callable[[np.ndarray], Detections]:
    """The PyTorch model with the interface of ``OnnxDetector``: RGB array to detections."""
    pipeline = ImageInputs(model.cfg)

    @torch.no_grad()
    def detect(image: np.ndarray) -> Detections:
        data = pipeline(np.ascontiguousarray(image[..., ::-1]))
        batch = dict(inputs=[data['inputs']], data_samples=[data['data_samples']])
        instances = model.test_step(batch)[0].pred_instances
        return dict(
            boxes=instances.bboxes.cpu().numpy(),
            scores=instances.scores.cpu().numpy(),
            labels=instances.labels.cpu().numpy(),
        )

    return detect


def compare_detections(
    name: str,
    image: np.ndarray,
    reference: Detections,
    other: Detections,
    score_thr: float = SCORE_THR,
) -> ImageComparison:
    """Pair detections; see ``ImageComparison``.

    Args:
        name: Of the image.
        image: ``(H, W, 3)``.
        reference: PyTorch's detections.
        other: The exported detector's.
        score_thr: Detections at or below it are only there to be partners.
    """
    unpaired, score_differences, box_differences = 0, [0.0], [0.0]
    for side, partners in ((reference, other), (other, reference)):
        taken: set[int] = set()
        for row in np.flatnonzero(side['scores'] > score_thr):
            free = np.flatnonzero(partners['labels'] == side['labels'][row])
            free = free[[i not in taken for i in free]] if len(free) else free
            if not len(free):
                unpaired += 1
                continue
            gaps = np.abs(partners['boxes'][free] - side['boxes'][row]).max(1)
            nearest = int(free[gaps.argmin()])
            taken.add(nearest)
            box_differences.append(float(gaps.min()))
            score_differences.append(
                abs(float(partners['scores'][nearest]) - float(side['scores'][row]))
            )
    return ImageComparison(
        name=name,
        counts=(
            int((reference['scores'] > score_thr).sum()),
            int((other['scores'] > score_thr).sum()),
        ),
        unpaired=unpaired,
        max_score_difference=max(score_differences),
        max_box_difference=max(box_differences),
        image_side=max(image.shape[:2]),
    )


def load_images(paths: Sequence[str]) -> dict[str, np.ndarray]:
    """RGB arrays of photographs by name; without paths, of scikit-image's.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: scikit-image is not installed and no paths were given.
    """
    if paths:
        stems = [Path(path).stem for path in paths]
        # two files of one name are told apart by their paths
        names = [s if stems.count(s) == 1 else p for s, p in zip(stems, paths, strict=True)]
        return {n: decode_rgb(Path(p).read_bytes()) for n, p in zip(names, paths, strict=True)}
    try:
        from skimage import data
    except ImportError as error:
        raise ImportError(
            f'{error}. Give photographs with --images, or pip install scikit-image.'
        ) from error
    return {name: getattr(data, name)() for name in PHOTOGRAPHS}


def versions() -> str:
    """Versions that a comparison depends on, in a line."""
    found = [f'torch {torch.__version__}']
    for name in ('onnx', 'onnxruntime'):
        with suppress(metadata.PackageNotFoundError):
            found.append(f'{name} {metadata.version(name)}')
    return ', '.join(found)
