# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Contrast between whole images and their captions."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from .cosine import at_least_float32, cosine_logits

UNEVEN = ('all', 'trim')


def gather_with_gradient(x: Tensor, uneven: str = 'all') -> Tensor:
    """Rows of all ranks, in rank order; the backward pass sums the gradients over the ranks.

    The number of rows may differ between ranks.

    Args:
        x: ``(n, D)`` of this rank.
        uneven: See ``ImageTextContrastiveLoss``.

    Returns:
        ``(sum of n, D)``; ``x`` itself without an initialised process group.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return x
    from torch.distributed.nn.functional import all_gather

    count = torch.tensor([len(x)], device=x.device)
    counts = [torch.zeros_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    sizes = [int(c) for c in counts]
    if uneven == 'trim':
        sizes = [min(sizes)] * len(sizes)
        x = x[: sizes[0]]
    padded = F.pad(x, (0, 0, 0, max(sizes) - len(x)))
    return torch.cat([part[:n] for part, n in zip(all_gather(padded), sizes, strict=True)])


@MODELS.register_module()
class ImageTextContrastiveLoss(nn.Module):
    """Symmetric InfoNCE over image-caption pairs (RegionCLIP, section 3.3, equation 4; CLIP).

    ``S = cos(V, T) / temperature``; the mean of the cross-entropies over rows and over columns with
    the diagonal as target. With several processes, the pairs of all ranks are contrasted and
    gradients flow through the gathering: every rank computes the whole loss, its rows receive the
    sum over ranks of their gradients, and after data parallelism's averaging each parameter has
    the gradient that one process with the whole batch would compute, however the pairs are spread.

    Args:
        temperature: Divides the cosines.
        gather: Contrast against the pairs of all ranks.
        uneven: Where ranks have different numbers of pairs, ``'all'`` contrasts all of them;
            ``'trim'`` is the official code's way: only as many of each rank as the rank with the
            fewest has, the others' getting no gradient.
        loss_weight: Factor of the loss.
    """

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
            A scalar, the same on every rank when gathered.
        """
        # before gathering, whose backward pass sums over the ranks
        image_embeddings = at_least_float32(image_embeddings)
        text_embeddings = at_least_float32(text_embeddings)
        if self.gather:
            image_embeddings = gather_with_gradient(image_embeddings, self.uneven)
            text_embeddings = gather_with_gradient(text_embeddings, self.uneven)
        logits = cosine_logits(image_embeddings, text_embeddings, self.temperature)
        target = torch.arange(len(logits), device=logits.device)
        loss = F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)
        return self.loss_weight * loss / 2
