# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RegionCLIP's detector with masks: CLIP RN50, C4, a frozen R50-FPN localizer, LVIS settings.

Expects polygons: dict(type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False).
"""

_base_ = ['./regionclip_rn50.py', '../localizers/rpn_r50_fpn_lsj.py']

model = dict(
    localizer={{_base_.localizer}},
    roi_head=dict(
        bbox_head=dict(
            # plain cross-entropy, background weighs 0.8, divided by the sum of the weights
            loss_cls=dict(
                type='FocalScaledCrossEntropyLoss',
                gamma=0.0,
                background_weight=0.8,
                normalizer='weights',
            ),
        ),
        mask_head=dict(type='RegionMaskHead', conv_out_channels=256),
    ),
    test_cfg=dict(
        rcnn=dict(score_thr=0.02, max_per_img=300, objectness='logit', mask_thr_binary=0.5)
    ),
)
