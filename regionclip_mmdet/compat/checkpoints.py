# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Let ``torch.load`` read mmengine's checkpoints under ``weights_only=True``.

Since torch 2.6 that is the default, and it refuses the training history that mmengine
stores beside the weights. Exactly the classes that occur there are allowed.
"""

# Booleans, integers, floats and strings; no objects.
_DTYPE_CODES = '?bhilqBHILQefdgSU'


def allow_mmengine_checkpoints() -> None:
    """Register what mmengine's checkpoints contain as safe to unpickle."""
    import torch
    from packaging.version import Version

    # Earlier versions do not need it, and 2.4 and 2.5 know no (object, name) pairs.
    if Version(torch.__version__) >= Version('2.6'):
        torch.serialization.add_safe_globals(_safe_globals())


def _safe_globals() -> list:
    import numpy as np
    from mmengine.logging import HistoryBuffer

    try:
        from numpy._core import multiarray
    except ImportError:  # numpy 1
        from numpy.core import multiarray
    dtypes = {type(np.dtype(code)) for code in _DTYPE_CODES}
    # NumPy renamed its core package in 2.0; files written by either are read by both.
    rebuild = [
        (function, f'numpy.{core}.multiarray.{name}')
        for core in ('core', '_core')
        for name, function in (
            ('_reconstruct', multiarray._reconstruct),
            ('scalar', multiarray.scalar),
        )
    ]
    return [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        *sorted(dtypes, key=lambda dtype: dtype.__name__),
        *rebuild,
        (_history_statistic, 'builtins.getattr'),
    ]


def _history_statistic(owner: type, name: str) -> object:
    """Stands in for ``getattr``, by which a pickle names ``HistoryBuffer.mean`` and its like.

    The real ``getattr`` would let a checkpoint reach any attribute of any allowed
    object, which is what ``weights_only`` is there to prevent.
    """
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name.startswith('_') or not hasattr(owner, name):
        raise ValueError(
            f'A checkpoint asks for attribute {name!r} of {owner!r}; only the statistics of '
            "mmengine's HistoryBuffer may be looked up while loading. If you trust the file, load "
            'it with torch.load(..., weights_only=False) and save its state dict alone.'
        )
    return getattr(HistoryBuffer, name)
