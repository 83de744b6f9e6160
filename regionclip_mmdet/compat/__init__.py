# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The only place that adapts other packages: their versions, installations and errors.

Importing this package imports neither torch nor OpenMMLab: the dependency check
must be able to speak before anything it checks is imported.
"""

from ..renames import old_names
from .autocast import cast_masks_under_cpu_autocast, cpu_autocast_is_on
from .checkpoints import allow_mmengine_checkpoints
from .cuda import warn_of_unusable_gpu, why_cuda_is_unusable
from .dependencies import DEPENDENCIES, Dependency, check_dependencies
from .distributed import end_distributed_run, is_first_process, prepare_launch
from .installed_packages import provide_package_lookup
from .operators import install_operator_fallback, uses_operator_fallback
from .patches import PATCHES, Patch, apply_patches, know_derived_loaders, provide_numpy_float

__all__ = [
    'DEPENDENCIES',
    'Dependency',
    'PATCHES',
    'Patch',
    'allow_mmengine_checkpoints',
    'apply_patches',
    'cast_masks_under_cpu_autocast',
    'check_dependencies',
    'cpu_autocast_is_on',
    'end_distributed_run',
    'install_operator_fallback',
    'is_first_process',
    'know_derived_loaders',
    'prepare_launch',
    'provide_numpy_float',
    'provide_package_lookup',
    'uses_operator_fallback',
    'warn_of_unusable_gpu',
    'why_cuda_is_unusable',
]
__getattr__ = old_names(__name__, dict(install_shims=f'{__name__}.apply_patches'))
