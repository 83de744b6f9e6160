# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Tensors and arrays that a pickle describes: the descriptions are checked, then followed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from . import Kept, Made, Named, nodes

# Tensors may repeat their data (expanded ones do) up to so many bytes in all.
_MAX_REPEATED = 1 << 28
_TENSORS = ('torch._utils._rebuild_tensor', 'torch._utils._rebuild_tensor_v2')
_OTHER_TENSORS = ('torch._utils._rebuild_tensor_v3', 'torch._utils._rebuild_qtensor')
# of a tensor with attributes of its own: how it is made, its type, its arguments, its attributes
_WITH_ATTRIBUTES = ('torch._tensor._rebuild_from_type', 'torch._tensor._rebuild_from_type_v2')
_STORAGES = {
    f'torch.{name}Storage': dtype
    for name, dtype in dict(
        Float=torch.float32,
        Half=torch.float16,
        BFloat16=torch.bfloat16,
        Double=torch.float64,
        Byte=torch.uint8,
        Char=torch.int8,
        Short=torch.int16,
        Int=torch.int32,
        Long=torch.int64,
        Bool=torch.bool,
        ComplexFloat=torch.complex64,
        ComplexDouble=torch.complex128,
        QInt8=torch.qint8,
        QUInt8=torch.quint8,
        QInt32=torch.qint32,
    ).items()
}
_BYTES = ('torch.UntypedStorage', 'torch.storage.UntypedStorage', 'torch.storage._UntypedStorage')
_NUMPY = tuple(f'numpy.{core}.' for core in ('core', '_core'))
# booleans, numbers, texts; no objects
_DTYPE_KINDS = 'biufcSU'


@dataclass(frozen=True)
class StorageRef:
    """A storage as a pickle names it.

    Attributes:
        key: name of its data in the file.
        dtype: type of its elements.
        numel: number of elements.
        usable: number of them that a tensor may use; less for views of old files.
    """

    key: str
    dtype: torch.dtype
    numel: int
    usable: int

    @classmethod
    def of(cls, kept: Any) -> StorageRef:
        """Read what ``persistent_id`` of torch gives; a ValueError if it is something else."""
        key = kept.key if isinstance(kept, Kept) else None
        if isinstance(key, tuple) and key[:1] == ('module',):
            raise ValueError('Unsupported class: it holds whole modules, with their code')
        if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != 'storage':
            raise ValueError('its pickle refers to something that is not a storage')
        _, kind, name, _, numel, view = (*key, None)[:6]
        kind = kind.name if isinstance(kind, Named) else ''
        dtype = torch.uint8 if kind in _BYTES else _STORAGES.get(kind)
        if dtype is None or not _count(numel) or not isinstance(name, (str, int)):
            raise ValueError('its pickle describes a storage wrongly')
        usable = numel
        if view is not None:
            if len(_numbers(view[1:], 'view')) != 2 or sum(view[1:]) > numel:
                raise ValueError('its pickle describes a storage wrongly')
            usable = view[2]
        return cls(str(name), dtype, numel, usable)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.numel * self.dtype.itemsize


def check_tensors(content: Any, size_of: Callable[[StorageRef], int]) -> None:
    """Refuse tensors that reach out of their data, or repeat it beyond measure.

    Args:
        content: content that ``inert.read`` returned.
        size_of: function that gives the bytes that a file has for a storage.

    Raises:
        ValueError: The first such tensor.
    """
    repeated = 0
    for node in nodes(content):
        if isinstance(node, Kept):
            storage = StorageRef.of(node)
            if size_of(storage) != storage.nbytes:
                raise ValueError(f'storage {storage.key!r} is of another size than its data')
        elif isinstance(node, Made) and node.name in _WITH_ATTRIBUTES:
            function, _, args, *_ = node.args
            repeated += _repeated(Made(function, args))
        elif isinstance(node, Made) and node.name in _TENSORS + _OTHER_TENSORS:
            if node.state is not None:
                raise ValueError('its pickle changes a tensor after it is created')
            repeated += _repeated(node)
    if repeated > _MAX_REPEATED:
        raise ValueError(f'its tensors repeat few values to {repeated} bytes')


def _repeated(made: Made) -> int:
    """Bytes of a tensor that is larger than its data; 0 of others."""
    _, _, size, _, itemsize, available = _view(made)
    nbytes = math.prod(size) * itemsize
    return nbytes if nbytes > available else 0


def as_tensor(made: Any, find: Callable[[StorageRef], torch.UntypedStorage]) -> Tensor:
    """A dense tensor.

    Args:
        made: note of the call that rebuilds it.
        find: function that gives the data of a storage.

    Raises:
        ValueError: It is no such note, or describes it wrongly.
    """
    if not is_tensor(made):
        raise ValueError('its pickle has something else where a tensor is expected')
    storage, offset, size, stride, itemsize, available = _view(made)
    if math.prod(size) * itemsize > max(available, _MAX_REPEATED):
        raise ValueError('its tensors repeat few values')
    return torch.empty(0, dtype=storage.dtype).set_(find(storage), offset, size, stride)


def is_tensor(made: Any) -> bool:
    """Whether something is a note of a dense tensor."""
    return isinstance(made, Made) and made.name in _TENSORS


def as_bytes(value: Any) -> bytes | bytearray | None:
    """Bytes, also as protocols up to 2 write them; None if it is something else."""
    if isinstance(value, Made) and value.name == '_codecs.encode':
        text, *coding = value.args if isinstance(value.args, tuple) and value.args else (None,)
        if isinstance(text, str) and coding == ['latin1']:
            return text.encode('latin-1')
    return value if isinstance(value, (bytes, bytearray)) else None


def as_array(made: Any) -> np.ndarray | np.generic | None:
    """An array or scalar of numpy; None if it is the note of something else.

    Raises:
        ValueError: It describes it wrongly, or holds objects.
    """
    if not isinstance(made, Made) or not made.name.startswith(_NUMPY):
        return None
    function = made.name.rpartition('.')[2]
    try:
        if function == '_reconstruct':
            _, shape, dtype, fortran, data = made.state
            return _array(data, dtype, shape, 'F' if fortran else 'C')
        if function == '_frombuffer':
            data, dtype, shape, order = made.args
            return _array(data, dtype, shape, order)
        if function == 'scalar':
            return _array(made.args[1], made.args[0], (), 'C')[()]
    except (TypeError, IndexError, ValueError) as error:
        raise ValueError(f'its pickle describes an array wrongly ({error})') from None
    return None


def _array(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if isinstance(data, str):  # of Python 2
        data = data.encode('latin-1')
    data = as_bytes(data)
    shape = tuple(_numbers(shape, 'shape'))
    kind = _dtype(dtype)
    if data is None or math.prod(shape) * kind.itemsize != len(data):
        raise ValueError('its bytes are not those of its shape')
    if order not in ('C', 'F'):
        raise ValueError(f'order {order!r}')
    # a copy of its own, which may be written to
    flat = np.frombuffer(bytearray(data), kind)
    return flat.reshape(shape, order='F' if order == 'F' else 'C')


def _dtype(made: Any) -> np.dtype:
    if isinstance(made, Made) and made.name == 'numpy.dtype':
        code, order = made.args[0], made.state[1] if made.state else '='
        if isinstance(code, str) and order in ('<', '>', '=', '|'):
            found = np.dtype(code)
            if found.kind in _DTYPE_KINDS and found.subdtype is None and found.itemsize:
                return (
                    found
                    if order == '|'
                    else found.newbyteorder(cast(Literal['<', '>', '='], order))
                )
    raise ValueError('its elements are no numbers')


def _view(made: Made) -> tuple[StorageRef, int, tuple[int, ...], tuple[int, ...], int, int]:
    """Storage, offset, size and stride of a tensor; bytes of an element and of the storage."""
    if not isinstance(made.args, tuple) or len(made.args) < 4:
        raise ValueError('its pickle describes a tensor wrongly')
    storage = StorageRef.of(made.args[0])
    (offset,) = _numbers(made.args[1:2], 'offset')
    size, stride = _numbers(made.args[2], 'size'), _numbers(made.args[3], 'stride')
    itemsize, available = storage.dtype.itemsize, storage.usable * storage.dtype.itemsize
    if made.name.endswith('_v3'):  # of bytes, with a type of their own
        dtype = getattr(made.args[6], 'name', '').removeprefix('torch.') if made.args[6:] else ''
        found = getattr(torch, dtype, None)
        if not isinstance(found, torch.dtype):
            raise ValueError('its pickle describes a tensor wrongly')
        itemsize = found.itemsize
    if len(size) != len(stride):
        raise ValueError('its pickle describes a tensor wrongly')
    if math.prod(size):
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if (last + 1) * itemsize > available:
            raise ValueError(
                f'a tensor of size {list(size)} reaches out of its storage of {storage.usable} '
                'elements'
            )
    return storage, offset, size, stride, itemsize, available


def _numbers(values: Any, what: str) -> tuple[int, ...]:
    if isinstance(values, Made) and values.name == 'torch.Size' and len(values.args) == 1:
        values = values.args[0]
    if isinstance(values, int):
        values = (values,)
    if not isinstance(values, (tuple, list)) or len(values) > 64 or not all(map(_count, values)):
        raise ValueError(f'its pickle describes a {what} wrongly')
    return tuple(values)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
