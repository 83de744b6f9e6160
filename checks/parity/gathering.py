# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Cases of pretraining over several processes: gathered pairs, gradients of each rank."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.logging import MMLogger
from torch import Tensor

from . import pretraining
from .case import Case, CaseError, find_cases, open_case
from .comparison import Comparison
from .gradients import NORM, compare_gradients, gradient_values

WHAT = 'pretraining over processes: losses and gradients of each rank'
MARKS = ('rank0:loss_img_txt_level', 'rank0:global_features')
NEEDED = ('rank0:loss_img_txt_level', 'rank1:loss_img_txt_level')
_LENDER = re.compile(r'of (?:the )?case (\w+)')


def run(case: Case, comparison: Comparison) -> None:
    """Run the case's processes and compare what each found."""
    inputs = find_inputs(case)
    rows = rows_of_ranks(case)
    with tempfile.TemporaryDirectory() as folder:
        threads = max(1, torch.get_num_threads() // len(rows))
        names = [_recorded(case, rank) for rank in range(len(rows))]
        arguments = (rows, names, str(inputs.path), folder, threads)
        mp.start_processes(_rank, arguments, nprocs=len(rows), start_method='spawn')
        found = [torch.load(Path(folder) / f'{rank}.pth') for rank in range(len(rows))]
    for rank, result in enumerate(found):
        prefix = f'rank{rank}:'
        limit = case.limit('losses_rel', 2e-4)
        pretraining.compare_losses(comparison, result['losses'], limit, prefix)
        if f'{prefix}global_features' in case:
            limit = case.limit('region_features_max_abs', 2e-4)
            comparison.add(f'{prefix}global_features', result['global_features'], limit)
        limit = case.limit('grad_norm_rel', 2e-3)
        compare_gradients(comparison, None, limit, prefix, result['gradients'])


def find_inputs(case: Case) -> Case:
    """The case in the same folder that holds the images: the one named, or of the same weights.

    Raises:
        CaseError: There is none.
    """
    named = _LENDER.search(case.note('what', default=''))
    others = find_cases(case.path.parent)
    if named and named[1] in others:
        return open_case(others[named[1]])
    for name, path in others.items():
        if name == case.name:
            continue
        other = open_case(path)
        same = other.note('weights_seed') == case.seed and 'loss_img_txt_level' in other
        if same and 'image0' in other:
            return other
    raise CaseError('the pretraining case that holds its images is not in this folder')


def rows_of_ranks(case: Case) -> list[list[int]]:
    """Images of each rank: the recorded whole-image features say how many.

    Raises:
        CaseError: A rank has none recorded.
    """
    rows: list[list[int]] = []
    start = 0
    while any(key.startswith(f'rank{len(rows)}:') for key in case.arrays):
        count = len(case.array(f'rank{len(rows)}:global_features'))
        rows.append(list(range(start, start + count)))
        start += count
    if len(rows) < 2:
        raise CaseError('only one rank is recorded')
    return rows


def _recorded(case: Case, rank: int) -> list[str]:
    prefix = f'rank{rank}:{NORM}'
    return [key[len(prefix) :] for key in case.arrays if key.startswith(prefix)]


def _rank(
    rank: int,
    rows: list[list[int]],
    names: list[list[str]],
    inputs: str,
    folder: str,
    threads: int,
) -> None:
    """One process: its images of the batch, gradients before any averaging."""
    torch.set_num_threads(threads)
    MMLogger.get_current_instance().setLevel('ERROR')
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=len(rows)
    )
    case = open_case(Path(inputs))
    model = pretraining.build(case)
    batch, samples = pretraining.inputs(case, model, rows[rank])
    seen = pretraining.observe(model)
    losses = pretraining.step(model, batch, samples)
    regions = len(seen['teacher'])
    result: dict[str, dict | Tensor] = dict(
        losses={key: value.detach() for key, value in losses.items()},
        global_features=seen['student'][regions:].detach().clone(),
        gradients={
            name: {key: value.detach().clone() for key, value in values.items()}
            for name, values in gradient_values(model, names[rank]).items()
        },
    )
    torch.save(result, Path(folder) / f'{rank}.pth')
    dist.barrier()
    dist.destroy_process_group()
    # an interpreter that used gloo may abort at its shutdown
    sys.stderr.flush()
    os._exit(0)
