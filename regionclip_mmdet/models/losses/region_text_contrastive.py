# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Contrast between regions and the concepts they were labeled with."""

from __future__ import annotations

from mmdet.registry import MODELS
from torch import Tensor, nn

from ..recognition import cosine_logits


@MODELS.register_module()
class RegionTextContrastiveLoss(nn.Module):
    """InfoNCE over pseudo region-text pairs (RegionCLIP, section 3.3, equation 2).

    The columns are the concepts of the regions themselves, one column per region; all columns
    that hold the region's own concept are positives:
    ``loss_i = -log sum_{j: y_j = y_i} softmax_j(cos(v_i, t_{y_j}) / temperature)``, mean over i.

    Args:
        temperature: Divides the cosines.
        loss_weight: Factor of the loss.
    """

    def __init__(self, temperature: float = 0.01, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.loss_weight = loss_weight

    def forward(self, region_embeddings: Tensor, concepts: Tensor, labels: Tensor) -> Tensor:
        """The loss of the kept regions.

        Args:
            region_embeddings: Student's regions ``(R, D)``, any norm.
            concepts: The student's concept pool ``(K, D)``.
            labels: Pseudo label of each region ``(R,)``, indices into the pool.

        Returns:
            A scalar; 0 if all labels agree or there is no region.
        """
        if len(region_embeddings) == 0:
            return region_embeddings.sum() * 0.0
        logits = cosine_logits(region_embeddings, concepts[labels], self.temperature)
        positive = labels[:, None] == labels[None]
        log_numerator = logits.masked_fill(~positive, float('-inf')).logsumexp(1)
        return self.loss_weight * (logits.logsumexp(1) - log_numerator).mean()
