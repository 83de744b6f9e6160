# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Localizer of LVIS transfer: R50-FPN RPN trained with large-scale jitter.

Against rpn_r50_fpn.py: norms in the FPN, two convolutions in the RPN head. It was trained with
SyncBN, whose tensors and whose function in eval mode, the only one a localizer has, are BN's.
"""

_base_ = './rpn_r50_fpn.py'

localizer = dict(
    neck=dict(norm_cfg=dict(type='BN', requires_grad=False)),
    rpn_head=dict(num_convs=2),
)
