# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Hooks of which a run has one each, whatever lists them."""

from __future__ import annotations

import itertools
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

_numbers = itertools.count()


class OnceHook(Hook):
    """Base of hooks that a run has once.

    The runtime configs name them in ``default_hooks``, a dict, which survives whatever list a
    config gives as ``custom_hooks``. One that is in that list as well, with other settings
    perhaps, takes the place of the runtime's.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> OnceHook:
        """Number the hooks, in the order in which the runner builds them."""
        made = super().__new__(cls)
        made._number = next(_numbers)
        return made

    def before_run(self, runner: Runner) -> None:
        # leave the last one of this kind, with the runner's other hooks
        same = [hook for hook in runner.hooks if isinstance(hook, _kind(self))]
        last = max(same, key=lambda hook: hook._number, default=None)
        runner._hooks = [hook for hook in runner.hooks if hook not in same or hook is last]


@HOOKS.register_module()
class NoHook(Hook):
    """Takes the place of a hook that is not wanted.

    mmengine lets only its own ``default_hooks`` be None. For others::

        default_hooks = dict(batch_size_check=dict(_delete_=True, type='NoHook'))
    """


def _kind(hook: OnceHook) -> type[OnceHook]:
    """The class below ``OnceHook`` that this one is or comes from."""
    below = [kind for kind in type(hook).__mro__ if issubclass(kind, OnceHook)]
    return below[-2]
