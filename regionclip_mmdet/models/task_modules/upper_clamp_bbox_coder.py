# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Box deltas decoded as the official code does."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log

from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import BaseBoxes
from torch import Tensor

# So small that mmdet's own clamp, which works both ways, is out of reach.
NO_CLAMP = 1e-30


@TASK_UTILS.register_module()
class UpperClampBBoxCoder(DeltaXYWHBBoxCoder):
    """mmdet's ``DeltaXYWHBBoxCoder`` whose boxes may shrink without limit.

    Both keep a box from growing more than 62.5 times (1000 / 16, of ``dw`` and ``dh``). mmdet
    bounds shrinking likewise, detectron2, and so the official code, does not: a box regressed to
    nothing is dropped there and would stay 1/62.5 of its size with mmdet's coder.
    """

    def decode(
        self,
        bboxes: Tensor | BaseBoxes,
        pred_bboxes: Tensor,
        max_shape: Sequence[int] | Tensor | None = None,
        wh_ratio_clip: float = 16 / 1000,
    ) -> Tensor | BaseBoxes:
        """Boxes of deltas.

        Args:
            bboxes: ``(N, 4)`` or ``(B, N, 4)``.
            pred_bboxes: Deltas ``(..., 4)``, or ``(..., 4 K)`` of K classes.
            max_shape: Height and width to clip to.
            wh_ratio_clip: The inverse is how much larger than before a side may become.
        """
        bounds = [inf, inf]
        for mean, std in zip(self.means[2:], self.stds[2:], strict=True):
            bounds.append((-log(wh_ratio_clip) - mean) / std)
        classes = pred_bboxes.shape[-1] // 4
        bounded = pred_bboxes.minimum(pred_bboxes.new_tensor(bounds * classes))
        return super().decode(bboxes, bounded, max_shape, wh_ratio_clip=NO_CLAMP)
