# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A dataset of your own, zero-shot: before training on it, and to see what training has cost.

    python tools/test.py configs/custom/regionclip_rn50_fpn_custom_zero-shot.py \
        checkpoints/regionclip_rn50_with_rpn_lvis_866.pth

Not run here. Names and files are those of regionclip_rn50_fpn_custom.py.
"""

_base_ = './regionclip_rn50_fpn_custom.py'

# As configs/zero_shot: no box regressor, ordinary NMS, objectness in the scores.
model = dict(
    localizer=dict(test_cfg=dict(nms=dict(iou_threshold=0.9))),
    roi_head=dict(bbox_head=dict(with_reg=False)),
    test_cfg=dict(
        rcnn=dict(nms=dict(_delete_=True, type='nms', iou_threshold=0.5), objectness='logit')
    ),
)
train_dataloader = train_cfg = optim_wrapper = param_scheduler = None  # nothing is trained
