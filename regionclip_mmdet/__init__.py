# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RegionCLIP (Zhong et al., CVPR 2022) for MMDetection 3.x.

``import regionclip_mmdet`` registers every class into mmdet's own registries, so a
config needs ``custom_imports = dict(imports=['regionclip_mmdet'])`` and nothing else.
"""

from typing import TYPE_CHECKING, Any

from .compat import apply_patches, check_dependencies
from .version import __version__

# Before everything below, which imports torch, mmcv and mmdet.
check_dependencies()
apply_patches()

from . import checkpoints, datasets, engine, evaluation, models, visualization  # noqa: E402
from .config_paths import config_path  # noqa: E402

if TYPE_CHECKING:
    from .apis import RegionCLIPInferencer

__all__ = [
    'RegionCLIPInferencer',
    '__version__',
    'checkpoints',
    'config_path',
    'datasets',
    'engine',
    'evaluation',
    'models',
    'visualization',
]


def __getattr__(name: str) -> Any:
    """The inferencer, imported when it is used: training does without."""
    if name != 'RegionCLIPInferencer':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from .apis import RegionCLIPInferencer

    return RegionCLIPInferencer


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
