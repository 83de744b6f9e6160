# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From boxes in images to embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ..datasets.size_groups import groups_of_one_size
from ..models.detectors import OpenVocabularyRCNN
from .encoding import Boxes, encode_samples
from .image_inputs import ImageInput, ImageInputs
from .loaded_detector import LoadedDetector


class RegionEmbeddings(NamedTuple):
    """Embeddings of the ``N`` boxes of an image, in their order.

    Attributes:
        raw: ``(N, D)`` float32, as the attention pool puts them out; RN50: ``D`` is 1024. The box
            regressor reads these.
        normalized: ``(N, D)`` float32, of length 1. A product with a normalized text embedding is
            the cosine that regions are named by.
    """

    raw: Tensor
    normalized: Tensor


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
        model: A detector with weights and ``cfg``, or a ``RegionCLIPInferencer``.
        images: Paths, addresses, uint8 arrays ``(H, W, 3)`` in BGR, or PIL images; or one of them.
        boxes: Of each image ``(N, 4)`` x1 y1 x2 y2 in pixels of the original image; ``N`` may be 0.
            What reaches out of the image is cut off.
        batch_size: Images of one size that are encoded together.
        progress: Show a progress bar.

    Returns:
        Of each image raw and normalized embeddings, on the model's device.

    Raises:
        BrokenImageError: A file cannot be read; names it.
        RuntimeError: A part of the model has random weights.
        ValueError: Another number of box lists than of images; boxes of another shape, not finite,
            turned inside out, or without any area within their image: names image and row.
    """
    detector = getattr(model, 'model', model)
    if isinstance(images, ImageInput):
        images = [images]
    if len(boxes) != len(images):
        raise ValueError(
            f'{len(images)} images but boxes for {len(boxes)}: give an (N, 4) list for each image.'
        )
    load = ImageInputs(detector.cfg)
    found: list[RegionEmbeddings | None] = [None] * len(images)

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
                raw = image.embeddings
                found[row] = RegionEmbeddings(raw, F.normalize(raw, dim=-1))
            bar.update(len(group))
    return found


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
