# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images to region embeddings: the costly half of detection, which no vocabulary enters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.structures.bbox import scale_boxes
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor
from tqdm import tqdm

from ..datasets.size_groups import groups_of_one_size
from ..models.detectors import OpenVocabularyRCNN
from ..models.encoded_image import EncodedImage, complete_image_metas
from .image_inputs import ImageInput, ImageInputs
from .loaded_detector import LoadedDetector

Boxes = Tensor | np.ndarray | Sequence


class RegionEmbeddings(NamedTuple):
    """Embeddings of the ``N`` boxes of an image, in their order.

    Attributes:
        raw: ``(N, D)`` float32, the outputs of the attention pool; RN50: ``D`` is 1024. The box
            regressor reads these.
        normalized: ``(N, D)`` float32, of length 1. A product with a normalized text embedding is
            the cosine that regions are classified by.
    """

    raw: Tensor
    normalized: Tensor


def encode_images(
    model: OpenVocabularyRCNN,
    images: ImageInput | Sequence[ImageInput],
    boxes: Sequence[Boxes] | None = None,
    batch_size: int = 1,
    progress: bool = False,
    all_regions: bool = False,
) -> list[EncodedImage]:
    """Find and embed the regions of images, once for any number of queries.

    Images go through the test pipeline of ``model.cfg``, then the localizer and the region encoder,
    as in ``model.predict``: the same numbers. With ``batch_size`` above 1 images of other sizes are
    padded, which changes what lies at their right and lower border a little, as in every test.

    Args:
        model: detector in evaluation mode, with weights and ``cfg``, as ``init_detector`` and
            ``RegionCLIPInferencer`` create it.
        images: paths, addresses, uint8 arrays ``(H, W, 3)`` in BGR, or PIL images; or one of them.
        boxes: per image ``(N, 4)`` x1 y1 x2 y2 in pixels of the original image, instead of the
            localizer's. Parts outside the image are cut off for encoding.
        batch_size: number of images encoded together.
        progress: show a progress bar.
        all_regions: encode regions, too, that cannot become detections under the model's
            ``test_cfg``: those with a negative logit if objectness is fused by ``'logit'``.

    Returns:
        Per image an ``EncodedImage`` on the model's device.

    Raises:
        BrokenImageError: a file cannot be read; names it.
        RuntimeError: a part of the model has random weights.
        ValueError: boxes that do not fit; no boxes and no localizer; no test pipeline.
    """
    if isinstance(images, ImageInput):
        images = [images]
    if batch_size < 1:
        raise ValueError(f'batch_size is {batch_size}; at least 1 image goes into a batch.')
    _check_number(images, boxes)
    inputs = ImageInputs(model.cfg)
    found: list[EncodedImage] = []
    with tqdm(total=len(images), unit='image', disable=not progress) as bar:
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            samples = [inputs(image) for image in images[rows]]
            given = None if boxes is None else boxes[rows]
            found += encode_samples(model, samples, given, all_regions)
            bar.update(len(samples))
    return found


@torch.no_grad()
def encode_samples(
    model: OpenVocabularyRCNN,
    samples: Sequence[dict],
    boxes: Sequence[Boxes] | None = None,
    all_regions: bool = False,
) -> list[EncodedImage]:
    """``encode_images`` of one batch that has gone through the pipeline.

    Args:
        model: see ``encode_images``.
        samples: outputs of ``ImageInputs`` or items of a dataset: ``inputs``, ``data_samples``.
        boxes: see ``encode_images``.
        all_regions: see ``encode_images``.
    """
    batch = model.data_preprocessor(pseudo_collate(samples), False)
    inputs, data_samples = batch['inputs'], batch['data_samples']
    complete_image_metas(data_samples)
    if boxes is None:
        return model.encode(inputs, data_samples, all_regions)
    originals = [
        _as_boxes(given, sample.metainfo).to(inputs.device)
        for given, sample in zip(boxes, data_samples, strict=True)
    ]
    for given, sample in zip(originals, data_samples, strict=True):
        sample.proposals = InstanceData(bboxes=_into_input(given, sample.metainfo))
    images = model.encode(inputs, data_samples, all_regions)
    return [
        replace(image, boxes=given[image.proposal_inds])
        for image, given in zip(images, originals, strict=True)
    ]


def encode_regions(
    model: OpenVocabularyRCNN | LoadedDetector,
    images: ImageInput | Sequence[ImageInput],
    boxes: Sequence[Boxes],
    batch_size: int = 1,
    progress: bool = False,
) -> list[RegionEmbeddings]:
    """Embed given boxes; each box is one row, in the order of the boxes.

    Nothing is thresholded, suppressed or sorted, and no box depends on another one. Images of a
    batch have one size, so ``batch_size`` changes results by rounding alone.

    Args:
        model: detector with weights and ``cfg``, or a ``RegionCLIPInferencer``.
        images: see ``encode_images``.
        boxes: per image ``(N, 4)`` x1 y1 x2 y2 in pixels of the original image; ``N`` may be 0.
            What reaches out of the image is cut off.
        batch_size: number of images of one size that are encoded together.
        progress: show a progress bar.

    Returns:
        Per image raw and normalized embeddings, on the model's device.

    Raises:
        BrokenImageError: a file cannot be read; names it.
        RuntimeError: a part of the model has random weights.
        ValueError: another number of box lists than of images; boxes of another shape, not finite,
            turned inside out, or without any area within their image: names image and row.
    """
    detector = model.model if isinstance(model, LoadedDetector) else model
    if isinstance(images, ImageInput):
        images = [images]
    _check_number(images, boxes)
    load = ImageInputs(detector.cfg)
    found: dict[int, RegionEmbeddings] = {}

    def loaded() -> Iterator[tuple[int, dict]]:
        for row, image in enumerate(images):
            yield row, load(image)

    with tqdm(total=len(images), unit='images', disable=not progress) as bar:
        groups = groups_of_one_size(
            loaded(), lambda item: tuple(item[1]['inputs'].shape), batch_size
        )
        for group in groups:
            given = [boxes[row] for row, _ in group]
            encoded = encode_samples(detector, [sample for _, sample in group], given, True)
            for (row, _), image in zip(group, encoded, strict=True):
                _refuse_outside(image.boxes, image.img_meta, row)
                raw = image.require_embeddings()
                found[row] = RegionEmbeddings(raw, F.normalize(raw, dim=-1))
            bar.update(len(group))
    return [found[row] for row in range(len(images))]


def _check_number(images: Sequence[ImageInput], boxes: Sequence[Boxes] | None) -> None:
    if boxes is not None and len(boxes) != len(images):
        raise ValueError(
            f'{len(images)} images but boxes for {len(boxes)}: give an (N, 4) list for each image.'
        )


def _as_boxes(given: Boxes, meta: dict) -> Tensor:
    """Float32 ``(N, 4)``.

    Raises:
        ValueError: Another shape, numbers that are not finite, or a box turned inside out.
    """
    boxes = torch.as_tensor(np.asarray(given) if not isinstance(given, Tensor) else given).float()
    boxes = boxes.reshape(0, 4) if boxes.numel() == 0 else boxes
    name = meta.get('img_path') or 'an array'
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f'boxes of {name} have shape {tuple(boxes.shape)}, not (N, 4).')
    wrong = ~boxes.isfinite().all(1) | (boxes[:, 2:] < boxes[:, :2]).any(1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f'box {row} of {name} is {boxes[row].tolist()}, not x1 y1 x2 y2 with x1 <= x2 and '
            f'y1 <= y2 ({int(wrong.sum())} such boxes). COCO files have x y width height.'
        )
    return boxes


def _into_input(boxes: Tensor, meta: dict) -> Tensor:
    """Boxes in the network's input, cut off at the image's border as mmdet's Resize does."""
    height, width = meta['img_shape'][:2]
    scaled = scale_boxes(boxes, meta['scale_factor'])
    return scaled.minimum(scaled.new_tensor([width, height, width, height])).clamp_min(0)


def _refuse_outside(boxes: Tensor, meta: dict, number: int) -> None:
    """Refuse boxes without area, or wholly outside: what would be encoded is not in them."""
    height, width = meta['ori_shape'][:2]
    cut = boxes.minimum(boxes.new_tensor([width, height, width, height])).clamp_min(0)
    empty = (cut[:, 2:] <= cut[:, :2]).any(dim=1)
    if empty.any():
        row = int(empty.nonzero()[0])
        name = meta.get('img_path') or f'image {number}'
        raise ValueError(
            f'box {row} of {name} is {boxes[row].tolist()}: it has no area within the image of '
            f'{width} x {height} pixels (width x height). {int(empty.sum())} such boxes; leave '
            'them out.'
        )
