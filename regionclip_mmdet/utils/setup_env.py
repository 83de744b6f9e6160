# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The function by which OpenMMLab packages are registered; ``mmengine.hub.get_model`` calls it."""

from mmdet.utils import register_all_modules as register_mmdet
from mmengine.registry import DefaultScope


def register_all_modules(init_default_scope: bool = True) -> None:
    """Register mmdet's classes and ours into mmdet's registries.

    Args:
        init_default_scope: Make 'mmdet' the default scope if there is none. One that is set stays:
            that of ``mmengine.hub.get_model`` is this package's, which has all that mmdet's has.
    """
    register_mmdet(init_default_scope=False)
    if init_default_scope and DefaultScope.get_current_instance() is None:
        DefaultScope.get_instance('mmdet', scope_name='mmdet')
