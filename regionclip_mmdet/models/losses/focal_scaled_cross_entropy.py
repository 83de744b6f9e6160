# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Classification loss of RegionCLIP's transfer to detection."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from ..recognition import at_least_float32


@MODELS.register_module()
class FocalScaledCrossEntropyLoss(nn.Module):
    """Cross-entropy scaled by ``(1 - p)^gamma`` of the true class, with a weight for background.

    Per region with label ``y`` (RegionCLIP, section 3.4):
    ``w_y * (1 - softmax(logits)_y)^gamma * -log softmax(logits)_y``; the gradient flows through
    both factors. Computed in float32 at least, whatever the input.

    Args:
        gamma: Focal exponent; 0 gives plain cross-entropy. 0.5 in the COCO recipe, 0 in LVIS.
        background_weight: Weight of regions whose label is the last column.
        normalizer: ``'regions'`` divides the weighted sum by the number of regions (COCO recipe),
            ``'weights'`` by the sum of the class weights (LVIS recipe).
        loss_weight: Factor of the whole loss.
    """

    def __init__(
        self,
        gamma: float = 0.5,
        background_weight: float = 1.0,
        normalizer: str = 'regions',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if normalizer not in ('regions', 'weights'):
            raise ValueError(f"normalizer must be 'regions' or 'weights', not {normalizer!r}.")
        self.gamma = gamma
        self.background_weight = background_weight
        self.normalizer = normalizer
        self.loss_weight = loss_weight

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """The loss of sampled regions.

        Args:
            cls_score: Logits ``(R, K + 1)``, background last.
            label: Class indices ``(R,)``, ``K`` for background.
            weight: Optional weight per region ``(R,)``, as mmdet's heads pass it.
            avg_factor: Number of regions to average over; by default ``R``.
            reduction_override: ``'none'`` returns ``(R,)``, ``'sum'`` the sum.

        Returns:
            A scalar, or ``(R,)`` for ``'none'``.
        """
        logits = at_least_float32(cls_score)
        log_prob = F.log_softmax(logits, dim=1).gather(1, label[:, None]).squeeze(1)
        loss = -log_prob
        if self.gamma:
            # clamp: the power's derivative is infinite at 0 for gamma < 1
            loss = loss * (1 - log_prob.exp()).clamp_min(1e-12) ** self.gamma
        is_background = label == logits.shape[1] - 1
        class_weight = torch.ones_like(loss).masked_fill(is_background, self.background_weight)
        if weight is not None:
            class_weight = class_weight * weight.to(loss)
        loss = self.loss_weight * class_weight * loss
        if reduction_override == 'none':
            return loss
        if reduction_override == 'sum':
            return loss.sum()
        if self.normalizer == 'weights':
            return loss.sum() / class_weight.sum().clamp_min(1e-12)
        return loss.sum() / (max(len(label), 1) if avg_factor is None else avg_factor)
