# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Serve ``mmcv._ext`` from torchvision where mmcv has no compiled operators.

``mmcv-lite`` ships the Python side of ``mmcv.ops`` but not the extension module it
imports. A meta-path finder at the *end* of ``sys.meta_path`` supplies that module; it
is used only when no real extension exists, so a compiled mmcv is used untouched.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

EXTENSION_NAME = 'mmcv._ext'

INSTALL_OPERATORS = (
    'pip uninstall -y mmcv-lite && '
    'pip install --no-build-isolation "mmcv>=2.1,<2.2" "setuptools>=70,<82"'
)


def install_operator_fallback() -> None:
    """Make ``mmcv.ops`` importable whether or not mmcv was compiled.

    Raises:
        ImportError: mmcv has a compiled extension that cannot be loaded, usually
            because it was built for another torch.
    """
    if any(isinstance(finder, _OperatorFallbackFinder) for finder in sys.meta_path):
        return
    if importlib.util.find_spec(EXTENSION_NAME) is None:
        sys.meta_path.append(_OperatorFallbackFinder())
        return
    import torch  # noqa: F401  the extension links against libraries that torch loads

    try:
        importlib.import_module(EXTENSION_NAME)
    except ImportError as error:
        raise ImportError(
            f'The compiled operators of mmcv cannot be loaded ({error}). They were probably '
            f'built for another torch than {torch.__version__}. Rebuild mmcv:\n'
            '    pip install --force-reinstall --no-deps --no-cache-dir --no-build-isolation '
            '"mmcv>=2.1,<2.2"\n'
            'or use operators served by torchvision instead:\n'
            '    pip uninstall -y mmcv && pip install "mmcv-lite>=2.1,<2.2"'
        ) from None


def uses_operator_fallback() -> bool:
    """Whether mmcv's operators come from torchvision rather than from a compiled mmcv."""
    spec = importlib.util.find_spec(EXTENSION_NAME)
    return spec is not None and isinstance(spec.loader, _OperatorFallbackLoader)


class _OperatorFallbackFinder(importlib.abc.MetaPathFinder):
    """Finds ``mmcv._ext`` and nothing else."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != EXTENSION_NAME:
            return None
        return importlib.machinery.ModuleSpec(
            fullname, _OperatorFallbackLoader(), origin='regionclip_mmdet.compat'
        )


class _OperatorFallbackLoader(importlib.abc.Loader):
    """Fills the module with the served operators and stubs for all others."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        from . import torchvision_operators

        for name in torchvision_operators.__all__:
            setattr(module, name, getattr(torchvision_operators, name))
        # mmcv asserts at import that every operator exists, so the error can only come
        # when one is called.
        module.__getattr__ = _missing_attribute


def _missing_attribute(name: str) -> Callable[..., NoReturn]:
    if name.startswith('__'):
        raise AttributeError(f'module {EXTENSION_NAME!r} has no attribute {name!r}')
    return _missing_operator(name)


def _missing_operator(name: str) -> Callable[..., NoReturn]:
    def operator(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(
            f'The mmcv operator {name!r} is not available: the installed mmcv has no compiled '
            'operators, and regionclip_mmdet serves only RoIAlign (average pooling), nms and '
            f'soft-nms from torchvision. Install a compiled mmcv (needs a C++ compiler):\n'
            f'    {INSTALL_OPERATORS}'
        )

    operator.__name__ = operator.__qualname__ = name
    return operator
