# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Test files that are run as several communicating processes, too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

TESTS = Path(__file__).resolve().parents[1]
SECONDS = 300


def run_ranks(script: str, world_size: int, folder: Path) -> list[dict]:
    """Run a test file as ``world_size`` processes and collect what each returned.

    Args:
        script: The file; it calls ``main`` when run as a script.
        world_size: Number of processes.
        folder: For meeting and results.
    """
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(TESTS.parent), str(TESTS)]),
        OMP_NUM_THREADS='1',
        OMP_WAIT_POLICY='PASSIVE',
    )
    arguments = [str(world_size), str(folder)]
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(rank), *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f'rank{rank}.pth') for rank in range(world_size)]


def main(work: Callable[[int], dict]) -> None:
    """Be one of the processes: ``work(rank)`` returns what the test is to see."""
    rank, world_size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=world_size
    )
    torch.save(work(rank), folder / f'rank{rank}.pth')
    dist.barrier()
    dist.destroy_process_group()
    # an interpreter that used gloo may abort at its shutdown
    sys.stderr.flush()
    os._exit(0)
