# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
# A config of the other style as a base of read_base().
globals().update(
    __import__('mmengine')
    .Config.fromfile(__import__('regionclip_mmdet').config_path('quickstart/transfer.py'))
    .to_dict()
)
