# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A GPU that torch cannot use is named, not silently left idle."""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path

DRIVER_VERSION_FILE = Path('/proc/driver/nvidia/version')


def why_cuda_is_unusable() -> str | None:
    """What keeps torch from using a GPU, in one clause; None if CUDA is available."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch's own words on the same matter
        if torch.cuda.is_available():
            return None
    if torch.version.cuda is None:
        return f'torch {torch.__version__} was built without CUDA'
    if os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1'):
        return 'CUDA_VISIBLE_DEVICES hides all GPUs'
    return _unfit_driver() or 'this machine has no NVIDIA driver'


def warn_of_unusable_gpu() -> None:
    """Print one line if torch was built for CUDA and a driver is there, but CUDA is not available.

    Usually the driver is older than torch's CUDA version needs. Everything then runs on the CPU,
    many times slower. Nothing is said if GPUs are hidden on purpose (``CUDA_VISIBLE_DEVICES``
    empty or -1), nor by any but the first of a launcher's processes.
    """
    if os.environ.get('RANK', '0') != '0':
        return
    reason = why_cuda_is_unusable()
    if reason is not None and reason == _unfit_driver():
        print(f'WARNING: running on the CPU: {reason}', file=sys.stderr)


def _unfit_driver() -> str | None:
    """The driver, torch's CUDA version and the remedy; None without a driver."""
    import torch

    try:
        driver = DRIVER_VERSION_FILE.read_text()
    except OSError:
        return None
    version = re.search(r'\s(\d+\.[\d.]+)\s', driver)
    return (
        f'the NVIDIA driver {version[1] if version else ""} of this machine does not serve torch '
        f'{torch.__version__}, which was built for CUDA {torch.version.cuda}. Update the driver, '
        'or install torch and torchvision for a CUDA version that nvidia-smi shows or an older one.'
    )
