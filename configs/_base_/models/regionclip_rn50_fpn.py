# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RegionCLIP's detector: CLIP RN50, C4, with a frozen R50-FPN localizer; boxes alone."""

_base_ = ['./regionclip_rn50.py', '../localizers/rpn_r50_fpn.py']

model = dict(localizer={{_base_.localizer}})
