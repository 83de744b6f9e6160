# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Boxes of an image in its flipped and resized views, and back."""

from __future__ import annotations

import torch
from mmdet.structures.bbox import bbox_flip, scale_boxes
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import box_iou

# mmdet's names of flips, and the axes of a map (..., h, w) that they turn.
FLIPPED_AXES = dict(horizontal=(-1,), vertical=(-2,), diagonal=(-2, -1))
# Given boxes agree between views up to this share of the image's longer side.
AGREEMENT = 0.01


def to_view(boxes: Tensor, meta: dict) -> Tensor:
    """Boxes ``(N, 4)`` in pixels of the original image in those of a view's network input."""
    boxes = scale_boxes(boxes, list(meta['scale_factor']))
    if meta['flip']:
        boxes = bbox_flip(boxes, meta['img_shape'], meta['flip_direction'])
    return boxes


def from_view(boxes: Tensor, meta: dict) -> Tensor:
    """Inverse of ``to_view``."""
    if meta['flip']:
        boxes = bbox_flip(boxes, meta['img_shape'], meta['flip_direction'])
    return scale_boxes(boxes, [1 / scale for scale in meta['scale_factor']])


def turn_back(maps: Tensor, meta: dict) -> Tensor:
    """Maps ``(..., h, w)`` of boxes in a flipped view as the unflipped image has them."""
    return maps.flip(FLIPPED_AXES[meta['flip_direction']]) if meta['flip'] else maps


def agreed_proposals(views: list[InstanceData], metas: list[dict]) -> InstanceData:
    """Proposals that came with the data, brought back from all views to the original image.

    Args:
        views: Per view ``bboxes (N, 4)`` in pixels of its network input, the same ``N`` regions.
        metas: Per view.

    Raises:
        ValueError: They are not the same regions: a view was flipped or resized, its proposals
            were not.
    """
    boxes = [from_view(p.bboxes.float(), m) for p, m in zip(views, metas, strict=True)]
    limit = 1 + AGREEMENT * max(metas[0]['ori_shape'][:2])
    if any(len(b) != len(boxes[0]) for b in boxes) or any(
        len(b) and float((b - boxes[0]).abs().max()) > limit for b in boxes
    ):
        raise ValueError(
            f'The proposals of {metas[0].get("img_path", "an image")} lie elsewhere in its flipped '
            "or resized views: mmdet's Resize and RandomFlip do not move proposals. Wrap those "
            "that come after the proposals: dict(type='MoveProposals', transforms=[...]); "
            'tools/test.py --tta does it.'
        )
    merged = views[0].clone()
    merged.bboxes = torch.stack(boxes).mean(0)
    return merged


def joined_proposals(
    views: list[InstanceData], metas: list[dict], iou_threshold: float, max_num: int
) -> InstanceData:
    """A localizer's proposals of all views in pixels of the original image, best first.

    Each view's own have been through NMS. A box goes if a better one *of another view* overlaps it
    by more than a threshold; so views that are the same have the proposals of one.

    Args:
        views: Per view ``bboxes (N, 4)`` in pixels of its network input and
            ``objectness_logits (N,)``.
        metas: Per view.
        iou_threshold: Of the localizer's NMS.
        max_num: The best so many are kept; below 1: all.
    """
    moved = []
    for i, (proposals, meta) in enumerate(zip(views, metas, strict=True)):
        proposals = proposals.clone()
        proposals.bboxes = from_view(proposals.bboxes.float(), meta)
        proposals.view = torch.full((len(proposals),), i, device=proposals.bboxes.device)
        moved.append(proposals)
    joined = InstanceData.cat(moved)
    joined = joined[joined.objectness_logits.argsort(descending=True, stable=True)]
    view = joined.pop('view').cpu()
    overlaps = box_iou(joined.bboxes.cpu(), joined.bboxes.cpu()) > iou_threshold
    overlaps &= view[:, None] != view
    kept = torch.ones(len(joined), dtype=torch.bool)
    for i in range(len(joined)):
        if kept[i]:
            kept[i + 1 :] &= ~overlaps[i, i + 1 :]
    rows = kept.nonzero()[:, 0]
    return joined[(rows[:max_num] if max_num > 0 else rows).to(joined.bboxes.device)]
