# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Nothing is trained: zero-shot tests."""

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
