# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Proposals that come with the data instead of from a localizer."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import BaseBoxes


@TRANSFORMS.register_module()
class ProposalsFromGT(BaseTransform):
    """Use the ground-truth boxes as proposals; crowd and ignored boxes are left out.

    mmdet's Resize and RandomFlip move ``gt_bboxes`` but not ``proposals``. So place this after
    them, with the annotations loaded before them::

        LoadImageFromFile, LoadAnnotations, Resize, RandomFlip, ProposalsFromGT, PackDetInputs

    or wrap the transforms that follow it into mmdet's ``ProposalBroadcaster``. mmdet's stock
    *test* pipelines load annotations after Resize, which leaves boxes in the original image's
    pixels: such boxes would be misplaced proposals.

    Added keys: ``proposals`` (float32 ``(N, 4)``, x1 y1 x2 y2) and ``proposals_scores``
    (float32 ``(N,)``). Packed, they are ``data_sample.proposals.bboxes`` and ``.scores``.

    Args:
        score: Objectness given to every box.
        max_num: Only the first so many boxes of an image, crowd not counted (500 in the official
            code); None: all.
    """

    def __init__(self, score: float = 1.0, max_num: int | None = None) -> None:
        self.max_num = max_num
        self.score = score

    def transform(self, results: dict) -> dict:
        """Add ``proposals`` and ``proposals_scores`` to ``results``."""
        if 'gt_bboxes' not in results:
            raise KeyError(
                'ProposalsFromGT needs gt_bboxes: put LoadAnnotations(with_bbox=True) before it.'
            )
        boxes = results['gt_bboxes']
        if isinstance(boxes, BaseBoxes):
            boxes = boxes.convert_to('hbox').numpy()
        boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)  # a copy: gt must not alias it
        ignored = results.get('gt_ignore_flags')
        if ignored is not None:
            boxes = boxes[~np.asarray(ignored, dtype=bool)]
        boxes = boxes[: self.max_num]
        results['proposals'] = boxes
        results['proposals_scores'] = np.full(len(boxes), self.score, dtype=np.float32)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(score={self.score}, max_num={self.max_num})'
