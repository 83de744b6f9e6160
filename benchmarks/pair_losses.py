# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Image-text losses over several processes: cost of a step in one of them, and its gradients."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn

from regionclip_mmdet.models.losses import (
    ImageTextContrastiveLoss,
    ImageTextSigmoidLoss,
    image_text_contrastive,
)

from .pretended_ranks import pretended_rank
from .timing import WARM_UPS, median_seconds, peak_of

TEMPERATURE = 0.01


class WholeMatrixContrast(nn.Module):
    """The yardstick: every process computes the loss of all pairs, from the same matrix."""

    def forward(self, image_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
        """Loss of ``(B, D)`` and ``(B, D)``, gathered."""
        texts = F.normalize(text_embeddings, dim=-1)
        images = F.normalize(image_embeddings, dim=-1)
        sizes = image_text_contrastive.rows_of_ranks(len(images), images.device)
        texts = image_text_contrastive.gather_with_gradient(texts, sizes)
        images = image_text_contrastive.gather_with_gradient(images, sizes)
        logits = images @ texts.t() / TEMPERATURE
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2


# Name -> what it is, how to build it. All but the last are the same loss.
FORMS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    'whole matrix': ('every process computes all rows and columns', WholeMatrixContrast),
    'own rows': (
        'ImageTextContrastiveLoss: rows and columns of the own pairs',
        lambda: ImageTextContrastiveLoss(TEMPERATURE),
    ),
    'sigmoid': ('ImageTextSigmoidLoss: captions of one process at a time', ImageTextSigmoidLoss),
}
SAME = tuple(FORMS)[:2]


@dataclass(frozen=True)
class Cost:
    """One step of one process.

    Attributes:
        seconds: Median of a forward and backward pass, after some to warm up.
        memory_mib: Peak above what was in use before, embeddings included there.
    """

    seconds: float
    memory_mib: float


def embeddings(pairs: int, width: int, device: str) -> tuple[Tensor, Tensor]:
    """Images and captions ``(pairs, width)``: half alike, half noise."""
    generator = torch.Generator().manual_seed(0)
    images, texts, common = torch.randn(3, pairs, width, generator=generator)
    return (images + common).to(device), (texts + common).to(device)


def measure_rank(
    form: str, pairs: int, processes: int, width: int, repeats: int, threads: int, device: str
) -> Cost:
    """Cost of the first process's part, in a fresh process that pretends to be it.

    Args:
        form: Key of ``FORMS``.
        pairs: Of all processes together, divisible by their number.
        processes: How many there would be.
        width: ``D``.
        repeats: Steps to time.
        threads: Torch's threads on a CPU; 0 leaves the default.
        device: Where to run.
    """
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        arguments = (form, pairs, processes, width, repeats, threads, device)
        return pool.apply(_measure_here, arguments)


def _measure_here(
    form: str, pairs: int, processes: int, width: int, repeats: int, threads: int, device: str
) -> Cost:
    if threads:
        torch.set_num_threads(threads)
    loss = FORMS[form][1]().to(device)
    own = pairs // processes
    small = [x.requires_grad_() for x in embeddings(4, width, device)]
    loss(*small).backward()  # what libraries set up once
    images, texts = embeddings(pairs, width, device)
    with pretended_rank(images, texts, processes):
        leaves = [x[:own].clone().requires_grad_() for x in (images, texts)]
        with peak_of(device) as peak:
            loss(*leaves).backward()
        seconds, _ = median_seconds(lambda: loss(*leaves).backward(), repeats, device, WARM_UPS - 1)
    return Cost(seconds, peak[0])


def largest_differences(
    sizes: Sequence[int], width: int, forms: Sequence[str] = SAME
) -> dict[str, float]:
    """Gradients in real processes (gloo), against one process with all pairs.

    Args:
        sizes: Pairs of each process.
        width: ``D``.
        forms: Keys of ``FORMS``.

    Returns:
        By form, the largest difference of an averaged gradient, relative to the largest gradient.
    """
    images, texts = (x.requires_grad_() for x in embeddings(sum(sizes), width, 'cpu'))
    expected = {}
    for form in forms:
        plain = FORMS['sigmoid' if form == 'sigmoid' else 'whole matrix'][1]()
        expected[form] = torch.cat(torch.autograd.grad(plain(images, texts), (images, texts)))
    with tempfile.TemporaryDirectory() as folder:
        arguments = (tuple(sizes), width, tuple(forms), folder)
        mp.start_processes(_rank, arguments, nprocs=len(sizes), start_method='spawn')
        parts = [torch.load(Path(folder) / f'{rank}.pth') for rank in range(len(sizes))]
    found = {}
    for form in forms:
        # each process has the gradients of its own pairs, to be averaged over all
        pieces = [torch.cat([part[form][side] for part in parts]) for side in (0, 1)]
        gap = torch.cat(pieces) / len(sizes) - expected[form]
        found[form] = float(gap.abs().max() / expected[form].abs().max())
    return found


def _rank(
    rank: int, sizes: tuple[int, ...], width: int, forms: tuple[str, ...], folder: str
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=len(sizes)
    )
    pairs = [x.split(sizes)[rank].clone() for x in embeddings(sum(sizes), width, 'cpu')]
    results = {}
    for form in forms:
        leaves = [x.clone().requires_grad_() for x in pairs]
        FORMS[form][1]()(*leaves).backward()
        results[form] = [leaf.grad for leaf in leaves]
    torch.save(results, Path(folder) / f'{rank}.pth')
    dist.barrier()
    dist.destroy_process_group()
    # an interpreter that used gloo may abort at its shutdown
    sys.stderr.flush()
    os._exit(0)
