# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The only place for version and installation shims.

Importing this package imports neither torch nor OpenMMLab: the dependency check
must be able to speak before anything it checks is imported.
"""

from .autocast import cast_masks_under_cpu_autocast, cpu_autocast_is_on
from .checkpoints import allow_mmengine_checkpoints
from .cuda import warn_of_unusable_gpu, why_cuda_is_unusable
from .dependencies import DEPENDENCIES, Dependency, check_dependencies
from .distributed import end_distributed_run, is_first_process, prepare_launch
from .installed_packages import provide_package_lookup
from .loading_pipeline import know_derived_loaders
from .lvis import provide_numpy_float
from .operators import install_operator_fallback, uses_operator_fallback

__all__ = [
    'DEPENDENCIES',
    'Dependency',
    'allow_mmengine_checkpoints',
    'cast_masks_under_cpu_autocast',
    'check_dependencies',
    'cpu_autocast_is_on',
    'end_distributed_run',
    'install_operator_fallback',
    'install_shims',
    'is_first_process',
    'know_derived_loaders',
    'prepare_launch',
    'provide_numpy_float',
    'provide_package_lookup',
    'uses_operator_fallback',
    'warn_of_unusable_gpu',
    'why_cuda_is_unusable',
]


def install_shims() -> None:
    """Install every shim this environment needs; safe to call more than once."""
    install_operator_fallback()
    allow_mmengine_checkpoints()
    provide_package_lookup()
    provide_numpy_float()
    know_derived_loaders()
