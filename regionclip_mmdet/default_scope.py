# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Building from configs in a scope of one's own, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.registry import DefaultScope

_lock = threading.RLock()


@contextmanager
def default_scope(name: str = 'mmdet') -> Iterator[None]:
    """Meanwhile types in configs mean those of a scope.

    mmengine's own ``overwrite_default_scope`` puts back a copy of all scopes when it ends: of two
    threads one could take away the other's. Here one thread builds at a time.

    Args:
        name: scope, ``'mmdet'`` for everything of mmdet's and of this package.
    """
    with _lock, DefaultScope.overwrite_default_scope(name):
        yield
