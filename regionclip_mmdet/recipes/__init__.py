# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What configs of published experiments need besides models and data."""

from .schedule import as_cfg_options, as_child_config, scale_schedule

__all__ = ['as_cfg_options', 'as_child_config', 'scale_schedule']
