# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One process that takes the part of the first of several: it computes that part, no more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.commands.image_text_loss import table
from benchmarks.pair_losses import FORMS, TEMPERATURE, Cost, embeddings
from benchmarks.pretended_ranks import pretended_rank
from benchmarks.timing import peak_of

TOOL = Path(__file__).parents[2] / 'tools' / 'benchmark.py'
PAIRS, PROCESSES, WIDTH = 24, 4, 3
OWN = PAIRS // PROCESSES


def step(form: str) -> tuple[Tensor, Tensor, int]:
    """Value, gradient of the images, elements of the largest tensor kept for the gradient."""
    images, texts = embeddings(PAIRS, WIDTH, 'cpu')
    numbers = []

    def remember(x: Tensor) -> Tensor:
        numbers.append(x.numel())
        return x

    with (
        pretended_rank(images, texts, PROCESSES),
        torch.autograd.graph.saved_tensors_hooks(remember, lambda x: x),
    ):
        own = [x[:OWN].clone().requires_grad_() for x in (images, texts)]
        value = FORMS[form][1]()(*own)
    value.backward()
    return value.detach(), own[0].grad, max(numbers)


def cosines() -> Tensor:
    images, texts = embeddings(PAIRS, WIDTH, 'cpu')
    return F.cosine_similarity(images[:, None], texts[None], dim=-1)


def test_the_whole_matrix_is_all_of_it() -> None:
    value, _, largest = step('whole matrix')
    logits, target = cosines() / TEMPERATURE, torch.arange(PAIRS)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2
    torch.testing.assert_close(value, expected)
    assert largest == PAIRS**2


def test_own_rows_are_the_first_of_it() -> None:
    value, _, largest = step('own rows')
    logits, target = cosines() / TEMPERATURE, torch.arange(OWN)
    parts = [F.cross_entropy(x[:OWN], target, reduction='sum') for x in (logits, logits.t())]
    torch.testing.assert_close(value, sum(parts) / 2 / PAIRS)
    assert largest == OWN * PAIRS


def test_the_sigmoid_of_own_rows() -> None:
    value, gradient, largest = step('sigmoid')
    signs = 2 * torch.eye(PAIRS)[:OWN] - 1
    expected = -F.logsigmoid(signs * (10 * cosines()[:OWN] - 10)).sum() / PAIRS
    torch.testing.assert_close(value, expected)
    assert largest == OWN * WIDTH and float(gradient.abs().max()) > 1e-3


def test_nothing_is_pretended_afterwards() -> None:
    step('own rows')
    images, texts = embeddings(4, WIDTH, 'cpu')
    alone = FORMS['own rows'][1]()(images, texts)
    torch.testing.assert_close(alone, FORMS['whole matrix'][1]()(images, texts))


def test_peak_of_memory() -> None:
    with peak_of() as peak:
        torch.ones(16, 2**20)  # 64 MiB, given back at once
    assert 60 < peak[0] < 80


def test_table() -> None:
    costs = {'own rows': Cost(0.25, 12.4), 'sigmoid': Cost(2.0, 3.0)}
    lines = table([dict(pairs=8, processes=2, costs=costs)], list(costs)).splitlines()
    assert lines[0] == '| pairs | processes | own rows: MiB | s | sigmoid: MiB | s |'
    assert lines[1].count('|') == lines[2].count('|') == 7
    assert lines[2] == '| 8 | 2 | 12 | 0.25 | 3 | 2 |'


def run(*options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOL), 'image-text-loss', '--width', '8', *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_tool_measures_and_compares(tmp_path: Path) -> None:
    out = tmp_path / 'numbers.json'
    done = run('--pairs', '16', '--processes', '4', '--repeats', '1', '--out', str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found['rows'][0]['costs'].keys() == FORMS.keys()
    assert all(cost['seconds'] > 0 for cost in found['rows'][0]['costs'].values())
    assert found['differences'].keys() == {'512 + 512', '700 + 0 + 324'}
    for differences in found['differences'].values():
        assert differences.keys() == FORMS.keys()
        assert all(0 <= value < 1e-4 for value in differences.values())


@pytest.mark.slow
def test_pairs_that_do_not_spread() -> None:
    done = run('--pairs', '10', '--processes', '4')
    assert done.returncode != 0 and '10 pairs cannot be spread evenly over 4' in done.stderr
