# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Every change this package makes to other packages when it is imported, in one list.

``REGIONCLIP_MMDET_PATCHES=none`` in the environment turns all of them off, a comma-separated list
of names leaves those out. Which ones were applied is logged at debug level by the logger
``regionclip_mmdet.compat.patches``.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

SWITCH = 'REGIONCLIP_MMDET_PATCHES'


@dataclass(frozen=True)
class Patch:
    """A change of another package, for the whole process.

    Attributes:
        name: Name in ``REGIONCLIP_MMDET_PATCHES``.
        changes: What is changed, and to what.
        why: What fails, or is unsafe, without it.
        where: ``module:function`` of this package that makes the change; it may be called twice.
    """

    name: str
    changes: str
    why: str
    where: str

    def apply(self) -> None:
        """Make the change."""
        module, _, function = self.where.partition(':')
        getattr(importlib.import_module(f'regionclip_mmdet.{module}'), function)()


# In this order: the modules that the later ones import need the operators.
PATCHES = (
    Patch(
        'operators',
        'sys.meta_path: mmcv._ext is served from torchvision if mmcv was not compiled',
        'mmdet imports mmcv.ops, which mmcv-lite cannot load',
        'compat.operators:install_operator_fallback',
    ),
    Patch(
        'checkpoint_types',
        'torch.serialization: the types in checkpoints of mmengine are safe globals',
        'torch.load(weights_only=True), the default since 2.6, refuses them',
        'compat.checkpoints:allow_mmengine_checkpoints',
    ),
    Patch(
        'package_lookup',
        "mmengine's is_installed and get_installed_path use the import system",
        'pkg_resources is gone from setuptools 82, and misplaces editable installations',
        'compat.installed_packages:provide_package_lookup',
    ),
    Patch(
        'config_package',
        "mmengine's MODULE2PACKAGE knows this package",
        "_base_ = 'regionclip_mmdet::...' does not resolve",
        'compat.patches:register_config_package',
    ),
    Patch(
        'manager_lock',
        "mmengine's ManagerMixin releases its lock when it raises",
        'other threads that want a logger, visualizer or scope wait forever',
        'compat.patches:release_manager_lock',
    ),
    Patch(
        'lvis_numpy',
        'lvis.eval sees a NumPy with the alias float',
        'lvis 0.5.3 uses np.float, which NumPy 1.24 removed',
        'compat.patches:provide_numpy_float',
    ),
    Patch(
        'derived_loaders',
        "mmdet's get_loading_pipeline accepts classes derived from its loaders",
        'analyze_results.py and confusion_matrix.py drop LoadImageChecked',
        'compat.patches:know_derived_loaders',
    ),
    Patch(
        'checkpoint_loading',
        "mmengine's CheckpointLoader reads local files and addresses by this package's functions",
        'downloads may run code; errors do not name the damaged file; sources of weights are lost',
        'checkpoints.loading:guard_stock_loading',
    ),
)


def apply_patches() -> None:
    """Apply all patches, except those that the environment leaves out.

    Raises:
        ValueError: ``REGIONCLIP_MMDET_PATCHES`` names a patch that does not exist.
    """
    known = [patch.name for patch in PATCHES]
    left_out = {name.strip() for name in os.environ.get(SWITCH, '').split(',')} - {''}
    if unknown := sorted(left_out - {'none', *known}):
        raise ValueError(
            f'{SWITCH} names {", ".join(unknown)}, but the patches are: {", ".join(known)}. '
            "Name those to leave out, or 'none' to apply none of them."
        )
    chosen = [p for p in PATCHES if not left_out & {p.name, 'none'}]
    for patch in chosen:
        patch.apply()
    names = ', '.join(patch.name for patch in chosen) or 'none'
    logging.getLogger(__name__).debug('Patches applied to other packages: %s', names)


def register_config_package() -> None:
    """Teach mmengine this package's name."""
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE.setdefault('regionclip_mmdet', 'regionclip_mmdet')


def release_manager_lock() -> None:
    """Have both methods that hold mmengine's lock of global instances release it on errors."""
    from mmengine.utils import manager

    def releasing(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            lock: Any = manager._lock
            is_outermost = not lock._is_owned()
            try:
                return method(*args, **kwargs)
            finally:
                while is_outermost and lock._is_owned():
                    lock.release()

        return call

    for name in ('get_instance', 'get_current_instance'):
        method = vars(manager.ManagerMixin)[name].__func__
        if not hasattr(method, '__wrapped__'):
            setattr(manager.ManagerMixin, name, classmethod(releasing(method)))


class _NumpyWithFloat(ModuleType):
    """NumPy, plus the alias ``float`` that NumPy 1.24 removed."""

    float = float

    def __getattr__(self, name: str) -> object:
        import numpy as np

        return getattr(np, name)


def provide_numpy_float() -> None:
    """Give lvis' evaluation a NumPy that has ``float``."""
    import numpy as np

    evaluation: Any = importlib.import_module('lvis.eval')
    # ``in vars`` because merely looking the alias up in NumPy emits a warning.
    if evaluation.np is np and 'float' not in vars(np):
        evaluation.np = _NumpyWithFloat('numpy')


class _StockLoaders:
    """Answers like a registry of transforms, with the stock loader that a class derives from."""

    def __init__(self, registry: Any, loaders: tuple[type, ...]) -> None:
        self.registry, self.loaders = registry, loaders

    def get(self, name: str) -> type | None:
        found = self.registry.get(name)
        if found is None or found in self.loaders:
            return found
        return next((kind for kind in self.loaders if issubclass(found, kind)), found)


def know_derived_loaders() -> None:
    """Change the registry that mmdet's function reads; itself may be imported elsewhere already."""
    from mmdet.datasets import utils

    if not isinstance(utils.TRANSFORMS, _StockLoaders):
        loaders = (utils.LoadPanopticAnnotations, utils.LoadAnnotations, utils.LoadImageFromFile)
        utils.TRANSFORMS = _StockLoaders(utils.TRANSFORMS, loaders)
