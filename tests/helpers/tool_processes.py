# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""``tools/train.py`` in processes of its own, and what its toy runs left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from helpers import toy_training

ROOT = Path(__file__).resolve().parents[2]


def write(path: Path, **changes: object) -> Path:
    """Write the toy's config to a file."""
    Config(toy_training.config(**changes)).dump(path)
    return path


def begin(config: Path, work_dir: Path, processes: int, *arguments: str) -> subprocess.Popen:
    """Start the tool, by torchrun for several processes."""
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests')]),
        OMP_NUM_THREADS='1',
        OMP_WAIT_POLICY='PASSIVE',
    )
    command = [sys.executable]
    if processes > 1:
        launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node']
        command += [*launcher, str(processes)]
    command += ['tools/train.py', str(config), '--work-dir', str(work_dir), *arguments]
    if processes > 1:
        command += ['--launcher', 'pytorch']
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start(config: Path, work_dir: Path, processes: int, *arguments: str) -> tuple[int, str]:
    """Run the tool to its end, whatever that is; returns the exit code and what it printed."""
    with begin(config, work_dir, processes, *arguments) as process:
        output, _ = process.communicate(timeout=300)
    return process.returncode, output


def assert_continued(straight: Path, broken: Path, processes: int, resumed_at: set[int]) -> None:
    """A resumed run saw and lost what an unbroken one did; its diary begins where it went on.

    Args:
        straight: Work dir of the unbroken run of 20 iterations.
        broken: Work dir of the other, its diaries without what was before the break.
        processes: Of each run.
        resumed_at: Iterations at which it may have gone on.
    """
    for rank in range(processes):
        one, other = (toy_training.diary(folder, rank) for folder in (straight, broken))
        assert sorted(one) == list(range(20))
        assert sorted(other) in [[*range(first, 20)] for first in resumed_at]
        for i, entry in other.items():
            assert (entry['index'], entry['noise']) == (one[i]['index'], one[i]['noise'])
            assert entry['loss'] == pytest.approx(one[i]['loss'], rel=1e-5)
    ends = [
        torch.load(folder / 'iter_20.pth', map_location='cpu', weights_only=False)
        for folder in (straight, broken)
    ]
    for key, value in ends[0]['state_dict'].items():
        torch.testing.assert_close(ends[1]['state_dict'][key], value, rtol=1e-5, atol=1e-6)


def forget_diaries(work_dir: Path) -> None:
    """Remove what a run wrote into its diaries so far."""
    for path in work_dir.glob('rank_*.jsonl'):
        path.unlink()
