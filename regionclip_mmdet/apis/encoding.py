# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images to region embeddings: the costly half of detection, which no words enter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from mmdet.structures.bbox import scale_boxes
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor
from tqdm import tqdm

from ..models.detectors import OpenVocabularyRCNN
from ..models.detectors.image_metas import complete_image_metas
from .encoded_image import EncodedImage
from .image_inputs import ImageInput, ImageInputs

Boxes = Tensor | np.ndarray | Sequence


def encode_images(
    model: OpenVocabularyRCNN,
    images: ImageInput | Sequence[ImageInput],
    boxes: Sequence[Boxes] | None = None,
    batch_size: int = 1,
    progress: bool = False,
    all_regions: bool = False,
) -> list[EncodedImage]:
    """Find and embed the regions of images, once for any number of questions.

    Images go through the test pipeline of ``model.cfg``, then the localizer and the region encoder,
    as in ``model.predict``: the same numbers. With ``batch_size`` above 1 images of other sizes are
    padded, which changes what lies at their right and lower border a little, as in every test.

    Args:
        model: In evaluation mode, with weights and ``cfg``, as ``init_detector`` and
            ``RegionCLIPInferencer`` make it.
        images: Paths, addresses, uint8 arrays ``(H, W, 3)`` in BGR, or PIL images; or one of them.
        boxes: Per image ``(N, 4)`` x1 y1 x2 y2 in pixels of the original image, instead of the
            localizer's. Parts outside the image are cut off for encoding.
        batch_size: Images encoded together.
        progress: Show a progress bar.
        all_regions: Encode regions, too, that cannot become detections under the model's
            ``test_cfg``: those with a negative logit if objectness is fused by ``'logit'``.

    Returns:
        Per image an ``EncodedImage`` on the model's device.

    Raises:
        BrokenImageError: A file cannot be read; names it.
        RuntimeError: A part of the model has random weights.
        ValueError: Boxes that do not fit; no boxes and no localizer; no test pipeline.
    """
    if isinstance(images, ImageInput):
        images = [images]
    if batch_size < 1:
        raise ValueError(f'batch_size is {batch_size}; at least 1 image goes into a batch.')
    if boxes is not None and len(boxes) != len(images):
        raise ValueError(
            f'{len(images)} images but boxes for {len(boxes)}: give an (N, 4) list for each image.'
        )
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
        model: As there.
        samples: Of ``ImageInputs``, or of a dataset: ``inputs`` and ``data_samples``.
        boxes: As there.
        all_regions: As there.
    """
    model.ensure_weights()
    batch = model.data_preprocessor(pseudo_collate(samples), False)
    inputs, data_samples = batch['inputs'], batch['data_samples']
    complete_image_metas(data_samples)
    originals: list[Tensor | None] = [None] * len(data_samples)
    if boxes is not None:
        originals = [
            _as_boxes(given, sample.metainfo).to(inputs.device)
            for given, sample in zip(boxes, data_samples, strict=True)
        ]
        for given, sample in zip(originals, data_samples, strict=True):
            sample.proposals = InstanceData(bboxes=_into_input(given, sample.metainfo))
    images = model.encode(inputs, data_samples, all_regions)
    return [
        image if given is None else replace(image, boxes=given[image.proposal_inds])
        for image, given in zip(images, originals, strict=True)
    ]


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
