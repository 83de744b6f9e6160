# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Contrast between whole images and their captions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from ..recognition import unit_vectors
from .gathering import gather_with_gradient, mean_over_pairs, own_rank, rows_of_ranks

UNEVEN = ('all', 'trim')


@MODELS.register_module()
class ImageTextContrastiveLoss(nn.Module):
    """Symmetric InfoNCE over image-caption pairs (RegionCLIP, section 3.3, equation 4; CLIP).

    ``S = cos(V, T) / temperature``; the mean of the cross-entropies over rows and over columns with
    the diagonal as target. With several processes, the pairs of all ranks are contrasted. A rank
    computes the rows of its images and the columns of its captions, against everything gathered:
    its memory grows with ``B * sum of B``, not with the square of the sum. Gradients flow through
    the gathering; after data parallelism's averaging each parameter has the gradient that one
    process with the whole batch would compute, however the pairs are spread.

    Args:
        temperature: Divides the cosines.
        gather: Contrast against the pairs of all ranks.
        uneven: Where ranks have different numbers of pairs, ``'all'`` contrasts all of them;
            ``'trim'`` is the official code's way: only as many of each rank as the rank with the
            fewest has, the others' getting no gradient.
        loss_weight: Factor of the loss.
    """

    # see AccumulationCheckHook
    contrasts_batch = True

    def __init__(
        self,
        temperature: float = 0.01,
        gather: bool = True,
        loss_weight: float = 1.0,
        uneven: str = 'all',
    ) -> None:
        super().__init__()
        if uneven not in UNEVEN:
            raise ValueError(f'uneven must be one of {UNEVEN}, not {uneven!r}.')
        self.uneven = uneven
        self.temperature = temperature
        self.gather = gather
        self.loss_weight = loss_weight

    def forward(self, image_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            image_embeddings: ``(B, D)``, any norm.
            text_embeddings: ``(B, D)``, row i the caption of image i.

        Returns:
            A scalar, the same on every rank when gathered; 0 if there is no pair.
        """
        device = image_embeddings.device
        with torch.autocast(device.type, enabled=False):
            # before gathering, whose backward pass sums over the ranks
            images = unit_vectors(image_embeddings)
            texts = unit_vectors(text_embeddings)
            sizes = rows_of_ranks(len(images), device, self.gather)
            if self.uneven == 'trim':
                sizes = [min(sizes)] * len(sizes)
                images, texts = images[: sizes[0]], texts[: sizes[0]]
            first = sum(sizes[: own_rank(sizes)])
            target = first + torch.arange(len(images), device=device)
            own = self._cross_entropy(images, gather_with_gradient(texts, sizes), target)
            own = own + self._cross_entropy(texts, gather_with_gradient(images, sizes), target)
            return self.loss_weight * mean_over_pairs(own, sizes) / 2

    def _cross_entropy(self, own: Tensor, gathered: Tensor, target: Tensor) -> Tensor:
        """Sum over the rows of ``own (B, D)``; ``target (B,)`` are rows of ``gathered``."""
        logits = own @ gathered.t() / self.temperature
        return F.cross_entropy(logits, target, reduction='sum')
