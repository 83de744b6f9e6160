# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What ``model.half()`` and ``model.to(...)`` mean for parts of a model that need float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn
from torchvision.ops.misc import FrozenBatchNorm2d

REDUCED = (torch.float16, torch.bfloat16)
# of a model: images are normalized, and frozen norms folded into convolutions, in float32
FLOAT32_MODULES = (BaseDataPreprocessor, FrozenBatchNorm2d)

Module = TypeVar('Module', bound=nn.Module)
Change = Callable[[Tensor], Tensor]


def without_reduction(change: Change) -> Change:
    """A change of a module's tensors (``nn.Module._apply``) that moves, but never rounds them."""

    def careful(tensor: Tensor) -> Tensor:
        changed = change(tensor)
        return tensor.float().to(changed.device) if changed.dtype in REDUCED else changed

    return careful


class StaysFloat32(nn.Module):
    """Mixin for parts whose weights ``half()``, ``bfloat16()`` and ``to(dtype)`` leave as they are.

    They compute in float32 whatever the model around them does, and their weights lose nothing.
    """

    def _apply(self: Module, fn: Change, *args: Any, **kwargs: Any) -> Module:
        return super()._apply(without_reduction(fn), *args, **kwargs)


class CastsCarefully(nn.Module):
    """Mixin for mmengine's ``BaseModel``, in front of it: where and in what type its inputs are.

    * The data preprocessor goes where the weights go, by whatever way: mmengine's private device of
      it knows ``to``, ``cuda`` and ``cpu`` of the model itself, but no wrapper's (averaged copies,
      ``nn.Sequential``) and no ``to_empty``.
    * ``half()`` and ``bfloat16()`` leave its means and the statistics of frozen norms in float32.
    """

    def _apply(self: Module, fn: Change, *args: Any, **kwargs: Any) -> Module:
        kept = {
            id(tensor)
            for module in self.modules()
            if isinstance(module, FLOAT32_MODULES)
            for tensor in module.buffers(recurse=False)
        }
        careful = without_reduction(fn)
        super()._apply(lambda t: careful(t) if id(t) in kept else fn(t), *args, **kwargs)
        device = next((parameter.device for parameter in self.parameters()), None)
        self._set_device(device)
        return self
