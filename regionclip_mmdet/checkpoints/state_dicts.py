# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The tensors in a file's content, whatever they are wrapped into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_CONTAINERS = ('state_dict', 'model')
# put before all keys by data parallelism, torch.compile and OpenAI's wrapper
_WRAPPERS = ('module.', '_orig_mod.', 'clip.')


def find_state_dict(content: Any, what: str = 'The file') -> dict[str, Tensor]:
    """The bare state dict in the content of a checkpoint.

    Args:
        content: A state dict, possibly nested under ``state_dict`` or ``model``, its keys possibly
            all behind ``module.``, ``_orig_mod.`` or ``clip.``.
        what: The file, for messages.

    Returns:
        Tensors by key, on the device they were on; floating ones as float32. Arrays, as in
        detectron2's files, become tensors; other values are left out.

    Raises:
        ValueError: There is no mapping in it.
    """
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _CONTAINERS if key in content), None)
        if not isinstance(inner, Mapping):
            break
        content = inner
    if not isinstance(content, Mapping):
        raise ValueError(f'{what} holds a {type(content).__name__}, not a state dict')
    state = {}
    for key, value in content.items():
        if hasattr(value, '__array__') and not isinstance(value, Tensor):
            value = torch.as_tensor(value)
        if isinstance(value, Tensor):
            value = value.detach()
            state[str(key)] = value.float() if value.is_floating_point() else value
    while state:
        common = [w for w in _WRAPPERS if all(key.startswith(w) for key in state)]
        if not common:
            break
        state = {key[len(common[0]) :]: value for key, value in state.items()}
    return state
