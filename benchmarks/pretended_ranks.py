# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One process takes the part of the first of many: what it computes and holds, without sending."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from regionclip_mmdet.models.losses import gathering, image_text_contrastive, image_text_sigmoid


class _PretendedGroup:
    """What the losses call of ``torch.distributed``; the others have as many pairs each."""

    def __init__(self, texts: Tensor, processes: int) -> None:
        self.texts = texts.chunk(processes)
        self.processes = processes

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def get_world_size(self) -> int:
        return self.processes

    def get_rank(self) -> int:
        return 0

    def all_gather(self, found: list[Tensor], own: Tensor) -> None:
        for tensor in found:
            tensor.copy_(own)

    def broadcast(self, block: Tensor, source: int) -> None:
        if source != 0:
            block.copy_(self.texts[source])

    def all_reduce(self, own: Tensor) -> None:
        """The others' sums are not known; only the value of the loss needs them."""

    def reduce(self, own: Tensor, destination: int) -> None:
        """The others' sums are not known; what a gradient costs does not depend on them."""


class _Gather(torch.autograd.Function):
    """Gathering without the others: as many buffers and copies as the real one."""

    @staticmethod
    def forward(ctx: FunctionCtx, own: Tensor, others: Tensor) -> Tensor:
        ctx.rows = len(own)
        received = [own.clone(), *(part.clone() for part in others.split(len(own)))]
        return torch.cat(received)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        sent = torch.cat([part.clone() for part in grad.split(ctx.rows)])
        return sent[: ctx.rows].clone(), None


@contextmanager
def pretended_rank(images: Tensor, texts: Tensor, processes: int) -> Iterator[None]:
    """Within, the losses take this process for the first of several.

    Nothing is sent: blocks of the others are copied from memory, their gradients are computed and
    dropped. Values and gradients are therefore not those of the whole loss.

    Args:
        images: ``(N, D)`` of all processes; those of the first come first.
        texts: The same of captions.
        processes: Their number, a divisor of ``N``.
    """
    own = len(images) // processes
    everything = [F.normalize(x.detach(), dim=-1) for x in (images, texts)]

    def gather(x: Tensor, sizes: list[int]) -> Tensor:
        whole = next(e for e in everything if torch.allclose(e[:own], x.detach(), atol=1e-3))
        return _Gather.apply(x, whole[own:])

    group = _PretendedGroup(everything[1], processes)
    with ExitStack() as stack:
        if processes > 1:
            for module in (gathering, image_text_sigmoid):
                stack.enter_context(mock.patch.object(module, 'dist', group))
            stack.enter_context(
                mock.patch.object(image_text_contrastive, 'gather_with_gradient', gather)
            )
        yield
