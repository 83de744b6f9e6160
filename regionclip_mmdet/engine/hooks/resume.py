# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A run that is to resume begins at the right place."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.runner import Runner

from ..checkpoint_choice import choose_start
from .once import OnceHook


@HOOKS.register_module()
class ResumeHook(OnceHook):
    """Lets ``--resume`` go on from the latest whole checkpoint, or begin with ``load_from``.

    mmengine follows the file ``last_checkpoint``, whose checkpoint may be damaged, and at a first
    start mmdet's ``train.py`` drops ``load_from``. Part of the default runtime config; our training
    loops do the same, see ``choose_start``.
    """

    # before the hook that looks for the checkpoint
    priority = 'HIGHEST'

    def before_run(self, runner: Runner) -> None:
        """Choose, before the runner loads anything."""
        super().before_run(runner)
        choose_start(runner)
