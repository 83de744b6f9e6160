# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Content of proposal files: pickles, JSON and YAML, of which nothing is run."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import torch
import yaml
from mmengine.fileio import get_local_path

from ..checkpoints.torch_archive import read_legacy
from ..fileio import parse_json
from ..inert import Made, check_bounded, read
from ..inert.values import as_array, as_bytes, as_tensor, is_tensor

# 118 thousand images, as mmdet's DumpProposals writes them, take some 8 million.
_MAX_STEPS = 200_000_000
# values that a YAML file may have beyond its characters
_FEW = 100_000
_MAPPINGS = ('builtins.dict', 'collections.OrderedDict', 'collections.defaultdict')
_SETS = ('builtins.set', 'builtins.frozenset')
_INSTANCES = 'mmengine.structures.'
_STORED = 'torch.storage._load_from_bytes'


class _YamlLoader(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):
    """Without merge keys (``<<``), by which few lines become any number of values."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave them to be refused."""


def read_content(path: str, backend_args: Mapping[str, Any] | None = None) -> Any:
    """Content of a proposal file.

    Args:
        path: By its ending: ``.pkl``, ``.pickle``, ``.json``, ``.yaml``, ``.yml``.
        backend_args: Arguments of mmengine's file backend.

    Returns:
        A mapping gives plain types, arrays and tensors of an entry when it is asked for, in
        place of mmengine's ``InstanceData`` its fields; anything else is given as it is.

    Raises:
        ValueError: It is damaged, of another ending, or would run code.
    """
    suffix = PurePath(path).suffix.lower()
    with (
        get_local_path(path, backend_args=dict(backend_args) if backend_args else None) as local,
        open(local, 'rb') as file,
    ):
        if suffix in ('.pkl', '.pickle'):
            return _Entries.over(read(file, _MAX_STEPS))
        if suffix == '.json':
            return parse_json(file.read(), path)
        if suffix in ('.yaml', '.yml'):
            try:
                text = file.read()
                content = yaml.load(text, _YamlLoader)
            except (yaml.YAMLError, RecursionError, TypeError, AttributeError) as error:
                raise ValueError(f'no plain YAML ({error})') from None
            check_bounded(content, len(text) + _FEW)
            return content
    raise ValueError('its name must end with .pkl, .pickle, .json, .yaml or .yml')


class _Entries(Mapping):
    """Entries of a pickle, made when they are asked for."""

    def __init__(self, content: Mapping[Any, Any]) -> None:
        self._content = content

    @classmethod
    def over(cls, content: Any) -> Any:
        if isinstance(content, Made) and content.name in _MAPPINGS:
            content = dict(content.pairs)
        return cls(content) if isinstance(content, dict) else plain(content)

    def __getitem__(self, key: Any) -> Any:
        value = self._content[key]
        try:
            return plain(value)
        except (TypeError, AttributeError, IndexError, OverflowError, RuntimeError) as error:
            raise ValueError(f'{type(error).__name__}: {error}') from None

    def __contains__(self, key: Any) -> bool:
        return key in self._content

    def __iter__(self) -> Iterator:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


def plain(value: Any, known: dict[int, Any] | None = None) -> Any:
    """Plain types, arrays and tensors of what ``inert`` read.

    Args:
        value: Value that ``inert.read`` returned.
        known: What was made of values that are referred to more than once, by ``id``.

    Raises:
        ValueError: It names anything else, for which code would have to run.
    """
    known = {} if known is None else known
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, dict):
        found: Any = {key: plain(below, known) for key, below in value.items()}
    elif isinstance(value, (list, tuple)):
        found = type(value)(plain(below, known) for below in value)
    elif isinstance(value, Made):
        found = _made(value, known)
    elif isinstance(value, (str, bytes, bytearray, int, float, complex, set, type(None))):
        return value
    else:
        raise ValueError(f'it holds a {type(value).__name__}, for which code would have to run')
    known[id(value)] = found
    return found


def _made(made: Made, known: dict[int, Any]) -> Any:
    array = as_array(made)
    if array is not None:
        return array
    if is_tensor(made):
        return _tensor(made)
    data = as_bytes(made)
    if data is not None:
        return data
    if made.name in _SETS and isinstance(made.args, tuple) and made.args[1:] == ():
        return set(plain(made.args, known)[0])
    if made.name in _MAPPINGS:
        return {key: plain(below, known) for key, below in made.pairs}
    if _class_of(made).startswith(_INSTANCES) and isinstance(made.state, dict):
        fields = {key: value for key, value in made.state.items() if key[:1] != '_'}
        return plain(fields, known)
    raise ValueError(f'it names {made.name or "an unknown object"}, for which code would run')


def _class_of(made: Made) -> str:
    """Name of the class whose object it is, however the protocol makes one."""
    if made.name == 'copyreg._reconstructor' and isinstance(made.args, tuple) and made.args:
        return getattr(made.args[0], 'name', '')
    return made.name


def _tensor(made: Made) -> torch.Tensor:
    """A tensor whose data are a file of torch within the pickle."""
    stored = made.args[0] if isinstance(made.args, tuple) and made.args else None
    if not isinstance(stored, Made) or stored.name != _STORED:
        raise ValueError('it holds a tensor without its data')
    data = as_bytes(stored.args[0]) if stored.args else None
    if data is None:
        raise ValueError('it holds a tensor without its data')
    storage, storages = read_legacy(io.BytesIO(data), keep=True)
    inner = Made(made.function, (storage, *made.args[1:]))
    return as_tensor(inner, storages.storage)
