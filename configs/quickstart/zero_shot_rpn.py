# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot detection with the localizer's boxes: no class was learned from boxes.

Stage 5 of tools/quickstart.py, for CLIP's and for RegionCLIP's weights.
"""

_base_ = './detector.py'

model = dict(
    roi_head=dict(bbox_head=dict(with_reg=False)), test_cfg=dict(rcnn=dict(objectness='sigmoid'))
)
train_dataloader = None  # nothing is trained
