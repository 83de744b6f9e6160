# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The tensors in a file's content, whatever they are wrapped into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_CONTAINERS = ('state_dict', 'model')
_MOST_CONTAINERS = 10
# put before all keys by data parallelism, torch.compile, Lightning and OpenAI's wrapper
_WRAPPERS = ('module.', '_orig_mod.', 'model.', 'clip.')


def find_state_dict(content: Any, what: str = 'The file') -> dict[str, Tensor]:
    """The bare state dict in the content of a checkpoint.

    Args:
        content: state dict, possibly nested under ``state_dict`` or ``model``, its keys possibly
            all behind ``module.``, ``_orig_mod.``, ``model.`` or ``clip.``.
        what: name of the file, for messages.

    Returns:
        Tensors by key, on the device they were on; floating ones as float32. Arrays, as in
        detectron2's files, become tensors; other values are left out.

    Raises:
        ValueError: There is no mapping in it, one whose keys are not strings, or without tensors;
            or tensors of a kind that weights cannot be (complex, quantized, sparse, ...).
    """
    inner = unwrap_state_dict(content, what)
    state, odd = {}, []
    for key, value in inner.items():
        try:
            tensor = _as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            odd.append(f'{key} ({_kind_of(value)})')
            continue
        if tensor is not None:
            state[key] = tensor
    if odd:
        raise ValueError(
            f'{what} holds {_count(len(odd), "tensor")} of kinds that are no weights here, e.g. '
            f'{", ".join(odd[:3])}. Save it with dense tensors of float32, float16 or bfloat16.'
        )
    if not state:
        keys = ', '.join(list(inner)[:5])
        raise ValueError(f'{what} holds no tensors' + (f', only: {keys}.' if keys else '.'))
    while True:
        common = [w for w in _WRAPPERS if all(key.startswith(w) for key in state)]
        if not common:
            return state
        state = {key[len(common[0]) :]: value for key, value in state.items()}


def unwrap_state_dict(content: Any, what: str = 'The file') -> Mapping[str, Any]:
    """The mapping of names to tensors in a checkpoint, as it is.

    Args:
        content: content of a file, see ``find_state_dict``.
        what: name of the file, for messages.

    Raises:
        ValueError: There is none, or its keys are not strings.
    """
    depth = 0
    while isinstance(content, Mapping):
        depth += 1
        if depth > _MOST_CONTAINERS:
            raise ValueError(f'{what} holds state dicts in one another without end.')
        name = next((key for key in _CONTAINERS if key in content), None)
        if name is None or (name == 'model' and isinstance(content[name], (Tensor, np.ndarray))):
            break
        content = content[name]
    if isinstance(content, Tensor):
        raise ValueError(
            f'{what} holds a Tensor of shape {tuple(content.shape)}, not a state dict. If '
            'these are embeddings of names, tools/convert_checkpoint.py FILE --names NAMES -o '
            'VOCABULARY.pth creates a vocabulary from them.'
        )
    if not isinstance(content, Mapping):
        raise ValueError(
            f'{what} holds a {type(content).__name__}, not a state dict: tensors by name, or a '
            "mapping with such a 'state_dict' or 'model'."
        )
    wrong = [key for key in content if not isinstance(key, str)]
    if wrong:
        raise ValueError(
            f'{what} holds keys that are no names, e.g. {wrong[0]!r:.40} ({len(wrong)} of '
            f'{len(content)}), so it is not a state dict. Is it the state of an optimizer?'
        )
    return content


def refuse_non_finite(state: Mapping[str, Tensor], what: str = 'The file') -> None:
    """Refuse weights that are NaN or infinite, as those of a training that diverged.

    Args:
        state: tensors by name.
        what: name of the file, for messages.

    Raises:
        ValueError: Some are; names them.
    """
    wrong = non_finite(state)
    if wrong:
        raise ValueError(
            f'{what} holds {_count(len(wrong), "tensor")} with NaN or infinite values: '
            f'{", ".join(wrong[:5])}{", ..." if len(wrong) > 5 else ""}. Nothing can be computed '
            'with them; take an earlier checkpoint, or download it again.'
        )


def non_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinite values."""
    return [
        key
        for key, value in state.items()
        if isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and not (value.is_meta or value.is_nested)
        and not _is_finite(value)
    ]


def _is_finite(value: Tensor) -> bool:
    # one of the numbers that are seen many times, as ``expand`` makes them
    value = value[tuple(slice(1) if stride == 0 else slice(None) for stride in value.stride())]
    # a sum is finite if all are, unless it overflows; it needs no second tensor of that size
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())


def _as_tensor(value: Any) -> Tensor | None:
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        # of the machine's own byte order and writable, as torch wants them
        value = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder('=')))
    if not isinstance(value, Tensor):
        return None
    if value.is_complex() or value.is_quantized or value.is_nested:
        raise ValueError
    if value.layout != torch.strided:
        raise ValueError
    value = value.detach()
    return value.float() if value.is_floating_point() else value


def _kind_of(value: Any) -> str:
    kind = str(getattr(value, 'dtype', type(value).__name__))
    sparse = isinstance(value, Tensor) and value.layout != torch.strided
    return f'{value.layout}, {kind}' if sparse else kind


def _count(number: int, noun: str) -> str:
    return f'{number} {noun}' + ('' if number == 1 else 's')
