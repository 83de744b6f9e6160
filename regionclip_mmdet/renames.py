# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names from before a rename: they work for one release and warn once."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.registry import Registry

_warned: set[tuple[str, str]] = set()


def warn_once(old: str, new: str) -> None:
    """Say once per process what something with an old name is called now."""
    if (old, new) not in _warned:
        _warned.add((old, new))
        warnings.warn(f'{old} is now {new}; the old name works until 0.3.', FutureWarning)


def old_names(module: str, renames: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that serves old names.

    Args:
        module: ``__name__`` of the module.
        renames: Old name to the full new one, for example
            ``dict(old='regionclip_mmdet.package.new')``.
    """

    def getattr_of_module(name: str) -> Any:
        if name not in renames:
            raise AttributeError(f'module {module!r} has no attribute {name!r}')
        warn_once(f'{module}.{name}', renames[name])
        home, _, new = renames[name].rpartition('.')
        return getattr(importlib.import_module(home), new)

    return getattr_of_module


def register_old_type(registry: Registry, old: str, new: type) -> None:
    """Let configs say ``type='OLD'`` for a class that has another name now."""

    def build(*args: Any, **kwargs: Any) -> Any:
        warn_once(f'type={old!r}', f'type={new.__name__!r}')
        return new(*args, **kwargs)

    build.__name__ = old
    registry.register_module(name=old, module=build)
