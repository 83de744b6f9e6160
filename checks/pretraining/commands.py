# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Our own tools as processes of their own, as a user starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

# Seconds; a step on a slow machine takes minutes at most.
PATIENCE = 600.0
TOOLS = Path(__file__).resolve().parents[2] / 'tools'


class CommandFailed(RuntimeError):
    """A tool ended with an error, or too early, or not at all."""


def run_tool(name: str, arguments: Sequence[object], log: Path) -> str:
    """Run one of our tools to its end.

    Args:
        name: Path below ``tools/``.
        arguments: Its command line.
        log: File for the command and all that it prints.

    Returns:
        What it printed.

    Raises:
        CommandFailed: It ended with an error.
    """
    command = [sys.executable, str(TOOLS / name), *map(str, arguments)]
    with _begin(command, log) as process:
        code = process.wait()
    text = log.read_text(encoding='utf-8', errors='replace')
    if code != 0:
        raise CommandFailed(_told(f'tools/{name} ended with exit code {code}', log))
    return text


def on_gpus(processes: int) -> bool:
    """Whether there is a GPU for each of so many processes; else all train on the CPU."""
    return torch.cuda.is_available() and torch.cuda.device_count() >= processes


@contextmanager
def distributed_training(
    processes: int, arguments: Sequence[object], log: Path
) -> Iterator[subprocess.Popen]:
    """``tools/dist_train.sh`` while it runs; leaving this ends it.

    Args:
        processes: Number of training processes.
        arguments: Config, and arguments of ``tools/train.py``.
        log: File for all that is printed.
    """
    config, *others = map(str, arguments)
    script = TOOLS / 'dist_train.sh'
    environment = dict(
        PYTHON=sys.executable,
        NNODES='1',
        NODE_RANK='0',
        MASTER_ADDR='127.0.0.1',
        PORT=str(_free_port()),
        OMP_NUM_THREADS=str(max(1, len(os.sched_getaffinity(0)) // processes)),
    )
    if not on_gpus(processes):
        environment['CUDA_VISIBLE_DEVICES'] = ''
    with _begin(['bash', str(script), config, str(processes), *others], log, environment) as run:
        yield run


@contextmanager
def _begin(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen]:
    """A process group with its output in a file; it ends, with all in it, on the way out."""
    log.parent.mkdir(parents=True, exist_ok=True)
    variables = dict(os.environ, **(environment or {}))
    variables.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    paths = [str(TOOLS.parent), variables.get('PYTHONPATH', '')]
    variables['PYTHONPATH'] = os.pathsep.join(path for path in paths if path)
    with open(log, 'w', encoding='utf-8') as stream:
        stream.write(f'$ {" ".join(command)}\n')
        stream.flush()
        process = subprocess.Popen(
            command, env=variables, stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(40)  # torchrun gives its processes 30 seconds
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def wait_until(
    condition: Callable[[], bool], process: subprocess.Popen, log: Path, what: str
) -> None:
    """Wait for a condition as long as a process lives and prints.

    Args:
        condition: Asked about twenty times a second.
        process: That makes it true.
        log: Its output.
        what: The condition, in words.

    Raises:
        CommandFailed: The process ended before, or printed nothing for ten minutes.
    """
    size, since = log.stat().st_size, time.monotonic()
    while not condition():
        if log.stat().st_size != size:
            size, since = log.stat().st_size, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            raise CommandFailed(_told(f'{PATIENCE:.0f} s without a word before {what}', log))
        if process.poll() is not None and not condition():
            raise CommandFailed(_told(f'the training ended before {what}', log))
        time.sleep(0.05)


def wait_for_end(process: subprocess.Popen, seconds: float) -> int | None:
    """Exit code; None if it has not ended after so many seconds."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def gone(pid: int, within: float = 15.0) -> bool:
    """Whether a process is not there any more, or a zombie, or soon will be."""
    deadline = time.monotonic() + within
    while True:
        try:
            status = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
        except (OSError, IndexError):
            return True
        if status in 'ZX':
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def _told(what: str, log: Path) -> str:
    lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
    return '\n'.join([f'{what}; the end of {log}:', *(f'    {line}' for line in lines[-15:])])


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(('127.0.0.1', 0))
        return place.getsockname()[1]
