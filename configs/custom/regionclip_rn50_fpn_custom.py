# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A dataset of your own: RN50 from RegionCLIP, one GPU, four images at a time.

    python tools/train.py configs/custom/regionclip_rn50_fpn_custom.py
    python tools/test.py configs/custom/regionclip_rn50_fpn_custom.py \
        work_dirs/regionclip_rn50_fpn_custom/iter_12000.pth

Classes and files are those of configs/_base_/datasets/custom_detection.py; docs/custom_dataset.md
says what to write there. The rate is that of the official OV-COCO schedule (0.002 for 16 images),
scaled linearly to 4; its length is a choice for some thousand images.
Results: coco/bbox_novel_ap50, coco/bbox_base_ap50, coco/bbox_all_ap50.
"""

_base_ = [
    '../_base_/models/regionclip_rn50_fpn.py',
    '../_base_/datasets/custom_detection.py',
    '../_base_/schedules/coco_transfer_90k.py',
    '../_base_/default_runtime.py',
]

model = dict(
    roi_head=dict(
        bbox_head=dict(
            vocabulary=_base_.data_root + 'base_names.pth',
            test_vocabulary=_base_.data_root + 'all_names.pth',
        )
    ),
)
load_from = 'checkpoints/regionclip_rn50_with_rpn_lvis_866.pth'

max_iters = 12000
train_cfg = dict(max_iters=max_iters, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=2000))
optim_wrapper = dict(
    optimizer=dict(lr=0.0005),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1001),
    dict(
        type='MultiStepLR',
        milestones=[8000, 11000],
        gamma=0.1,
        by_epoch=False,
        begin=0,
        end=max_iters,
    ),
]
auto_scale_lr = dict(base_batch_size=4)
