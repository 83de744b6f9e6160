# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Sums over the pairs of all processes, of which each process computes its own part."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def is_alone() -> bool:
    """Whether there is no other process."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1


def rows_of_ranks(rows: int, device: torch.device, gather: bool = True) -> list[int]:
    """The number of rows of each rank, by rank; a collective call.

    Args:
        rows: Number of rows of this rank.
        device: One that the process group can send from.
        gather: False: as if this rank were alone.
    """
    if not gather or is_alone():
        return [rows]
    count = torch.tensor([rows], device=device)
    counts = [torch.zeros_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    return torch.cat(counts).tolist()


def own_rank(sizes: list[int]) -> int:
    """This rank's place in ``sizes``."""
    return 0 if len(sizes) == 1 else dist.get_rank()


def gather_with_gradient(x: Tensor, sizes: list[int]) -> Tensor:
    """Rows of all ranks, in rank order; the backward pass sums the gradients over the ranks.

    Args:
        x: ``(n, D)`` of this rank.
        sizes: Rows of each rank, see ``rows_of_ranks``; they may differ.

    Returns:
        ``(sum of n, D)``; ``x`` itself for a single rank.
    """
    if len(sizes) == 1 or not any(sizes):
        return x
    from torch.distributed.nn.functional import all_gather

    padded = F.pad(x, (0, 0, 0, max(sizes) - len(x)))
    return torch.cat([part[:n] for part, n in zip(all_gather(padded), sizes, strict=True)])


class _MeanOverPairs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, own_sum: Tensor, pairs: int, world_size: int
    ) -> Tensor:
        ctx.factor = world_size / max(pairs, 1)
        total = own_sum.clone()
        if world_size > 1:
            dist.all_reduce(total)
        return total / max(pairs, 1)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple:
        return grad * ctx.factor, None, None


def mean_over_pairs(own_sum: Tensor, sizes: list[int]) -> Tensor:
    """The mean over the pairs of all ranks, of which this rank contributes a sum.

    Every rank gets the same value. The gradient is that of ``ranks / pairs`` times this rank's own
    sum: averaged over the ranks, as data parallelism does, it is that of the mean.

    Args:
        own_sum: A scalar, the sum over this rank's pairs.
        sizes: Pairs of each rank.

    Returns:
        A scalar; 0 if there is no pair at all.
    """
    return _MeanOverPairs.apply(own_sum, sum(sizes), len(sizes))
