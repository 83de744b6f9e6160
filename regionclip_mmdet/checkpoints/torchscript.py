# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The state dict of a TorchScript archive, whose program is not run.

``torch.jit.load`` runs what an archive brings along (``__setstate__``), which may write files or
never end. A state dict needs none of it: ``data.pkl`` names the tensors, and the text of a class
says which of them are parameters and buffers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..fileio import PathLike
from ..inert import Made
from ..inert.values import as_tensor, is_tensor
from .torch_archive import TorchArchive

_PREFIX = '__torch__'
_LISTED = re.compile(r'^  (__parameters__|__buffers__) = \[(.*)\]$', re.MULTILINE)
_NAME = re.compile(r'"((?:[^"\\]|\\.)*)"')
_MAX_TENSORS = 100_000


@dataclass(frozen=True)
class _Class:
    """What the text of a class says.

    Attributes:
        is_module: whether its objects are modules.
        listed: names of its parameters and of its buffers.
        restores_itself: whether it has a ``__setstate__``.
    """

    is_module: bool
    listed: dict[str, frozenset[str]]
    restores_itself: bool


def read_torchscript(path: PathLike, what: str = 'checkpoint') -> dict[str, Tensor]:
    """What ``torch.jit.load(path).state_dict()`` gives, on the CPU.

    Args:
        path: path of a local file.
        what: kind of file, for messages.

    Returns:
        Tensors by key; those that share memory in the archive share it here.

    Raises:
        ValueError: It is damaged, or has modules that code of its own would have to restore.
    """
    with TorchArchive(path, what) as archive:
        content = archive.content()
        reader = _Reader(archive)
        found: dict[str, Tensor] = {}
        for key, tensor in reader.state(content, ''):
            found[key] = tensor
            if len(found) > _MAX_TENSORS:
                raise ValueError(f'it has more than {_MAX_TENSORS} tensors')
        return found


class _Reader:
    def __init__(self, archive: TorchArchive) -> None:
        self.archive = archive
        self.classes: dict[str, _Class] = {}
        self.tensors: dict[int, Tensor] = {}

    def state(self, module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
        """Parameters, buffers, then those of the modules below, as a state dict has them."""
        kind = self._class_of(module)
        if kind is None or not kind.is_module:
            raise ValueError('it holds no module')
        if kind.restores_itself:
            raise ValueError(
                f'its module {module.name} is restored by code of its own (__setstate__), which '
                'is not run'
            )
        own = module.state if module.state is not None else {}
        if not isinstance(own, dict):
            raise ValueError(f'its module {module.name} has no attributes')
        for listed in kind.listed.values():
            for name, value in own.items():
                if name in listed and is_tensor(value):
                    yield prefix + name, self._tensor(value)
        for name, value in own.items():
            below = self._class_of(value)
            if below is not None and below.is_module:
                yield from self.state(value, f'{prefix}{name}.')

    def _tensor(self, made: Made) -> Tensor:
        if id(made) not in self.tensors:
            self.tensors[id(made)] = as_tensor(made, self.archive.storage)
        return self.tensors[id(made)]

    def _class_of(self, value: Any) -> _Class | None:
        if not isinstance(value, Made) or value.name.partition('.')[0] != _PREFIX:
            return None
        if value.name not in self.classes:
            self.classes[value.name] = self._read_class(value.name)
        return self.classes[value.name]

    def _read_class(self, name: str) -> _Class:
        folder, _, own = name.rpartition('.')
        code = self.archive.read(f'code/{folder.replace(".", "/")}.py')
        text = '' if code is None else code.decode('utf-8', errors='replace')
        start = re.search(rf'^class {re.escape(own)}\b(\(Module\))?.*:$', text, re.MULTILINE)
        if start is None:  # written in C++, as packed weights of quantized layers are
            return _Class(False, {}, False)
        end = re.search(r'^class ', text[start.end() :], re.MULTILINE)
        body = text[start.end() :][: end.start() if end else None]
        lists = {kind: frozenset(_NAME.findall(names)) for kind, names in _LISTED.findall(body)}
        listed = {kind: lists.get(kind, frozenset()) for kind in ('__parameters__', '__buffers__')}
        return _Class(bool(start[1]), listed, re.search(r'def __setstate__\b', body) is not None)
