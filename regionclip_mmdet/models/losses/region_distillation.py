# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Distillation of the teacher's concept distribution."""

from __future__ import annotations

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from ..recognition import cosine_logits


@MODELS.register_module()
class RegionDistillationLoss(nn.Module):
    """KL divergence from the teacher's to the student's concept distribution, per region.

    ``mean_r KL(q_r || softmax(cos(v_r, t) / temperature))`` (RegionCLIP, section 3.3, equation 3).
    The student's distribution is a log-softmax, so that no probability underflows to an
    infinite loss.

    Args:
        temperature: Divides the student's cosines.
        loss_weight: Factor of the loss.
    """

    def __init__(self, temperature: float = 0.01, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.loss_weight = loss_weight

    def forward(self, region_embeddings: Tensor, concepts: Tensor, teacher_probs: Tensor) -> Tensor:
        """The loss of the kept regions.

        Args:
            region_embeddings: Student's regions ``(R, D)``, any norm.
            concepts: The student's concept pool ``(K, D)``.
            teacher_probs: Teacher's distribution ``(R, K)``, rows sum to 1.

        Returns:
            A scalar; 0 with a gradient path if there is no region.
        """
        if len(region_embeddings) == 0:
            return region_embeddings.sum() * 0.0
        log_probs = cosine_logits(region_embeddings, concepts, self.temperature).log_softmax(-1)
        return self.loss_weight * F.kl_div(log_probs, teacher_probs, reduction='batchmean')
