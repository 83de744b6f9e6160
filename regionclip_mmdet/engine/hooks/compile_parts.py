# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""torch.compile for the parts of a model that it holds for."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..robust.ranks import unwrapped_model

_REGIONS = ('region_encoder.layer4', 'region_encoder.attnpool')
PARTS = (
    'backbone',
    *(f'roi_head.{name}' for name in _REGIONS),
    'teacher.backbone',
    *(f'teacher.{name}' for name in _REGIONS),
)


@HOOKS.register_module()
class CompilePartsHook(Hook):
    """Compiles parts of the model, in place, before training.

    With torch 2.11 convolutions and attention pools of student and teacher compile without a break;
    the compiler of 2.1 fails on the backbone, so there name the other parts.
    mmengine's ``compile=True`` takes the whole training step, proposals, losses and optimizer
    included, on which torch's compiler fails (seen with 2.11). Keys of checkpoints stay the same.
    The first batch of each new size takes longer; after a few, sizes are compiled as variables.

    Args:
        parts: Paths of sub-modules; by default those of ``PARTS`` that the model has.
        options: For ``torch.compile``, e.g. ``dict(mode='max-autotune')``.
    """

    def __init__(self, parts: Sequence[str] | None = None, options: dict | None = None) -> None:
        self.parts = parts
        self.options = options or {}

    def before_train(self, runner: Runner) -> None:
        model = unwrapped_model(runner)
        modules = dict(model.named_modules())
        parts = [p for p in PARTS if p in modules] if self.parts is None else self.parts
        missing = [part for part in parts if part not in modules]
        if missing:
            raise ValueError(
                f'CompilePartsHook: {type(model).__name__} has no part {missing[0]!r}; see parts '
                'of the hook in the config.'
            )
        for part in parts:
            modules[part].compile(**self.options)
        print_log(f'Compiled at their first call: {", ".join(parts)}.', 'current')
