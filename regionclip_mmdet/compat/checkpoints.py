# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reading checkpoints without running code that they name, with every torch.

Since torch 2.6 ``weights_only=True`` is the default, and it refuses the training history that
mmengine stores beside the weights: exactly the classes that occur there are allowed. Earlier
versions cannot be told so; they get an unpickler that finds the same things and nothing else.
"""

from __future__ import annotations

import importlib
import os
import pickle
import types
from typing import Any

from ..fileio import write_whole

# Booleans, integers, floats and strings; no objects.
_DTYPE_CODES = '?bhilqBHILQefdgSU'


def allow_mmengine_checkpoints() -> None:
    """Register what mmengine's checkpoints contain as safe to unpickle."""
    import torch

    if _torch_takes_pairs():
        torch.serialization.add_safe_globals(_safe_globals())


def load_plain(path: str, map_location: Any = 'cpu') -> Any:
    """The content of a file written by ``torch.save``: tensors, plain types, mmengine's history.

    Args:
        path: Path of a local file, in either of torch's formats.
        map_location: As in ``torch.load``.

    Raises:
        Exception: Of many types, for damaged files; for objects that need code to be built, with
            ``unsupported global`` and their name in the message.
    """
    import torch

    if _torch_takes_pairs():
        return torch.load(path, map_location=map_location, weights_only=True)
    # its own unpickler cannot be told of more; False leaves the reading to the one given
    return torch.load(
        path, map_location=map_location, pickle_module=plain_pickle(), weights_only=False
    )


def save_whole(content: Any, path: str | os.PathLike, remedy: str = '') -> None:
    """``torch.save``, whole or not at all; the bytes depend on the content alone.

    Args:
        content: Plain types and tensors.
        path: Path of the file; its folder is created.
        remedy: What to do if it cannot be written, for the message.

    Raises:
        OSError, MemoryError: It could not be written; names it and says what to do.
    """
    import torch

    # not by name, which torch would write into the file
    with write_whole(path, remedy, suffix='') as unfinished, open(unfinished, 'wb') as file:
        torch.save(content, file)


def plain_pickle() -> types.ModuleType:
    """Stands in for the ``pickle`` module; finds tensors, plain types and mmengine's history."""
    found = _plain_globals()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            # torch's protocol writes Python 2's name of the module
            full = f'{module.replace("__builtin__", "builtins")}.{name}'
            if full not in found:
                raise pickle.UnpicklingError(f'Unsupported global: {full}')
            return found[full]

    stand_in: Any = types.ModuleType('plain_pickle')
    stand_in.Unpickler = Unpickler
    stand_in.load = lambda file, **options: Unpickler(file, **options).load()
    return stand_in


def _torch_takes_pairs() -> bool:
    """Whether torch can be told of an object and the name that files call it by."""
    import torch
    from packaging.version import Version

    return Version(torch.__version__) >= Version('2.6')


def _plain_globals() -> dict[str, Any]:
    """What files of weights name: torch's own, and what ``_safe_globals`` allows."""
    import _codecs
    from collections import Counter, OrderedDict

    import torch

    # encode: how Python 3 writes bytes in the protocol that torch uses
    found: dict[str, Any] = {
        'collections.OrderedDict': OrderedDict,
        # milestones of MultiStepLR
        'collections.Counter': Counter,
        '_codecs.encode': _codecs.encode,
    }
    for item in [torch.Size, torch.device, torch.Tensor, torch.nn.Parameter, *_safe_globals()]:
        thing, name = item if isinstance(item, tuple) else (item, None)
        found[name or f'{thing.__module__}.{thing.__name__}'] = thing
    found['torch.nn.parameter.Parameter'] = torch.nn.Parameter
    found.update({'builtins.set': set, 'builtins.complex': complex})
    found['torch.serialization._get_layout'] = torch.serialization._get_layout
    kinds = ('tensor', 'tensor_v2', 'sparse_tensor', 'qtensor', 'parameter', 'parameter_with_state')
    for name in kinds:
        name = f'_rebuild_{name}'
        if hasattr(torch._utils, name):
            found[f'torch._utils.{name}'] = getattr(torch._utils, name)
    for name in dir(torch):
        plain = isinstance(getattr(torch, name), (torch.dtype, torch.qscheme, torch.layout))
        if plain or name.endswith('Storage'):
            found[f'torch.{name}'] = getattr(torch, name)
    return found


def _safe_globals() -> list:
    import numpy as np
    from mmengine.logging import HistoryBuffer

    numpy_core = 'numpy._core' if hasattr(np, '_core') else 'numpy.core'
    multiarray = importlib.import_module(f'{numpy_core}.multiarray')
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
    classes = [HistoryBuffer, np.ndarray, np.dtype, *sorted(dtypes, key=lambda d: d.__name__)]
    # With its name each: OneDL's mmengine allows the bare classes while it loads a file, and
    # afterwards withdraws them from whoever had allowed them before.
    return [
        *((owner, f'{owner.__module__}.{owner.__qualname__}') for owner in classes),
        *rebuild,
        (_history_statistic, 'builtins.getattr'),
    ]


def _history_statistic(owner: type, name: str) -> object:
    """Stands in for ``getattr``, by which a pickle names ``HistoryBuffer.mean`` and its like.

    The real ``getattr`` would let a checkpoint reach any attribute of any allowed
    object, which is what ``weights_only`` is there to prevent.
    """
    from mmengine.logging import HistoryBuffer

    known = isinstance(name, str) and not name.startswith('_')
    if (
        owner is not HistoryBuffer
        or not known
        or not isinstance(vars(HistoryBuffer).get(name), types.FunctionType)
    ):
        raise ValueError(
            f'A checkpoint names the attribute {name!r} of {owner!r}; only the statistics of '
            "mmengine's HistoryBuffer may be looked up while loading. If you trust the file, load "
            'it with torch.load(..., weights_only=False) and save its state dict alone.'
        )
    return getattr(HistoryBuffer, name)
