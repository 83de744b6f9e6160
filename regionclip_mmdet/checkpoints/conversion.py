# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Old place of ``regionclip_mmdet.conversion``."""

from ..renames import old_names

__getattr__ = old_names(
    __name__, {name: f'regionclip_mmdet.conversion.{name}' for name in ('convert', 'save')}
)
