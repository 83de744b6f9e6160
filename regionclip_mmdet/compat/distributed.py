# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Distributed runs: where their processes meet, and on machines without a GPU."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config


# Of slurm's jobs; below the ports that systems hand out by themselves.
FIRST_PORT, NUM_PORTS = 12000, 20000


def prepare_launch(cfg: Config) -> None:
    """Make a run started by a launcher work: at a port of its own, and without CUDA.

    torch synchronizes norms on GPUs alone, so ``sync_bn`` is taken out, with a warning. mmengine
    selects a CUDA device for whatever backend it initializes, and wraps the model for one. So the
    process group is made here, before the runner looks for it.

    Args:
        cfg: Config with ``launcher`` set; ``model_wrapper_cfg`` (of ``FlexibleRunner`` the
            strategy's ``model_wrapper``) may be added, ``sync_bn`` emptied.

    Raises:
        ValueError: The launcher is not 'pytorch', the only one that runs on CPUs.
    """
    import torch

    launcher = cfg.get('launcher', 'none')
    choose_port(launcher)
    if launcher == 'none' or torch.cuda.is_available():
        return
    if launcher != 'pytorch':
        raise ValueError(
            f'--launcher {launcher} needs CUDA, and none is available. On CPUs use torchrun with '
            '--launcher pytorch, or --launcher none for a single process.'
        )
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    if cfg.get('sync_bn') is not None:
        logging.getLogger(__name__).warning(
            'sync_bn=%r is left out: torch synchronizes norms on GPUs alone. Norms that learn '
            'take the statistics of each process here.',
            cfg.sync_bn,
        )
        cfg.sync_bn = None
    wrapper = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    strategy = (cfg.get('strategy') or {}).get('type')
    if strategy is None and cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = wrapper
    if strategy == 'DDPStrategy':  # of mmengine's FlexibleRunner
        cfg.strategy.setdefault('model_wrapper', wrapper)
    if strategy == 'FSDPStrategy':
        wrapper = dict(type='MMFullyShardedDataParallel', use_orig_params=True)
        cfg.strategy.model_wrapper = wrapper | (cfg.strategy.get('model_wrapper') or {})
        cfg.strategy.model_wrapper.device_id = torch.device('cpu')


def choose_port(launcher: str) -> None:
    """Give the processes of a job on a slurm cluster a port of their own to meet at.

    mmengine takes 29500 where ``MASTER_PORT`` is not set, so that of two jobs on one node the
    second fails. All processes of a step compute the same one from the numbers of job and step.

    Args:
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'; the first two are left alone.
    """
    job = os.environ.get('SLURM_JOB_ID', '')
    if launcher not in ('slurm', 'mpi') or 'MASTER_PORT' in os.environ or not job.isdigit():
        return
    step = os.environ.get('SLURM_STEP_ID', '')
    number = FIRST_PORT + (16 * int(job) + int(step if step.isdigit() else 0)) % NUM_PORTS
    os.environ['MASTER_PORT'] = str(number)


def is_first_process(launcher: str) -> bool:
    """Whether this is the first process of a run, before the processes have met.

    Args:
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
    """
    ranks = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')
    return os.environ.get(ranks.get(launcher, ''), '0') == '0'


def end_distributed_run(exit_code: int = 0) -> None:
    """End a script that ran distributed; returns only without a process group or with CUDA.

    Args:
        exit_code: Exit code of this process. If it is not 0 the others are not waited for.

    A gloo process that shuts its interpreter down now and then aborts, even with its group
    destroyed ("terminate called without an active exception"), and the launcher then reports a
    finished run as failed. So such a process ends here, without that shutdown.
    """
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return
    uses_gloo = distributed.get_backend() == 'gloo'
    if exit_code == 0:
        distributed.barrier()
        distributed.destroy_process_group()
    if uses_gloo:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
