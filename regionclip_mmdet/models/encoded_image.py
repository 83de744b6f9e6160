# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What of an image does not depend on a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from mmdet.structures import DetDataSample
from torch import Tensor


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """The regions of one image and their embeddings, ready to be classified.

    Created by ``OpenVocabularyRCNN.encode``, read by ``detect``. Holds no part of a model and is
    never changed, so threads may share it.

    Attributes:
        boxes: ``(N, 4)`` x1 y1 x2 y2 in pixels of the original image, float32: the localizer's, or
            the given ones.
        embeddings: ``(N, D)`` region embeddings, float32, not normalized. None: they are computed
            from the feature map when they are needed.
        objectness_logits: ``(N,)`` of the localizer, before its sigmoid; None for given boxes.
        img_meta: Of the network's input: ``img_shape``, ``ori_shape`` (height, width),
            ``scale_factor`` (width, height), ``img_path`` (None for arrays) and what else the
            pipeline packed.
        input_boxes: ``(N, 4)``, the same boxes in pixels of the network's input.
        proposal_inds: ``(N,)`` int64, which proposal each region is: those that can never become
            detections are left out, see ``OpenVocabularyRCNN.encode``.
        num_proposals: Number of proposals, those left out included.
        left_out_under: The fusion of objectness under which regions were left out; None: none were.
        feature_map: ``(1, C, H/16, W/16)``, kept for a mask head, or for embeddings that are yet to
            be computed; else None.
    """

    boxes: Tensor
    embeddings: Tensor | None
    objectness_logits: Tensor | None
    img_meta: dict[str, Any]
    input_boxes: Tensor
    proposal_inds: Tensor
    num_proposals: int
    left_out_under: str | None = None
    feature_map: Tensor | None = None

    def __len__(self) -> int:
        """Number of regions ``N``."""
        return len(self.boxes)

    def __repr__(self) -> str:
        path = self.img_meta.get('img_path') or 'array'
        regions = f'{len(self)} regions of {self.num_proposals} proposals'
        size = 'no' if self.embeddings is None else f'{self.embeddings.shape[1]}-dimensional'
        return f'EncodedImage({path}: {regions}, {size} embeddings, {self.boxes.device})'

    def require_embeddings(self) -> Tensor:
        """The embeddings ``(N, D)``.

        Raises:
            RuntimeError: the image was encoded without them (``embed=False``).
        """
        if self.embeddings is None:
            raise RuntimeError('the image was encoded without embeddings: encode(embed=True).')
        return self.embeddings

    def to(self, device: str | torch.device) -> EncodedImage:
        """The same on another device."""
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)


def complete_image_metas(samples: Sequence[DetDataSample]) -> None:
    """Add ``scale_factor`` and ``ori_shape`` of images that no transform has resized.

    Args:
        samples: Changed: an image without ``scale_factor`` gets ``(1.0, 1.0)`` if its original
            size is its present one or is not known.

    Raises:
        ValueError: Metas are missing that cannot be told from others; names image and remedy.
    """
    for sample in samples:
        meta = sample.metainfo
        shape = meta.get('img_shape')
        original = meta.get('ori_shape')
        lacking = 'img_shape' if shape is None else 'scale_factor'
        if meta.get(lacking) is not None:
            continue
        same = original is None or tuple(original[:2]) == tuple((shape or ())[:2])
        if lacking == 'img_shape' or not same:
            size = '' if original is None else f', originally {tuple(original[:2])},'
            raise ValueError(
                f'Image {meta.get("img_path", meta.get("img_id", "without a name"))}{size} comes '
                f'without {lacking}, so its detections cannot be brought back to it. Add '
                f"'{lacking}' to meta_keys of PackDetInputs in the test pipeline; a transform that "
                'resizes must set it (mmdet: Resize).'
            )
        sample.set_metainfo(dict(scale_factor=(1.0, 1.0), ori_shape=tuple(shape[:2])))
