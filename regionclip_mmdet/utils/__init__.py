# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What mmengine looks for in a package's ``utils``."""

from .setup_env import register_all_modules

__all__ = ['register_all_modules']
