# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Localizer R50-FPN with large-scale jitter, from random weights, on the 866 base classes of LVIS.

    NNODES=8 NODE_RANK=N MASTER_ADDR=HOST bash tools/dist_train.sh \
        configs/localizers/rpn_r50-caffe_fpn_lsj_64xb1-737k_lvis866.py 8 --amp

The official model zoo says "400 epochs" and no more; the settings are those of detectron2's LSJ
baselines. 64 images per iteration.
"""

_base_ = [
    '../_base_/models/rpn_r50-caffe-fpn_training.py',
    '../_base_/datasets/ov_lvis_detection.py',
    '../_base_/schedules/rpn_lsj_737k.py',
    '../_base_/default_runtime.py',
]

norm_cfg = dict(type='SyncBN', requires_grad=True)
image_size = (1024, 1024)

model = dict(
    data_preprocessor=dict(
        batch_augments=[dict(type='BatchFixedSizePad', size=image_size, pad_mask=False)]
    ),
    backbone=dict(frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False),
    neck=dict(norm_cfg=norm_cfg),
    rpn_head=dict(num_convs=2, loss_bbox=dict(type='L1Loss', loss_weight=1.0)),
)
train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='RandomResize',
        scale=image_size,
        ratio_range=(0.1, 2.0),
        keep_ratio=True,
        backend='pillow',
    ),
    dict(
        type='RandomCrop',
        crop_type='absolute',
        crop_size=image_size,
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=1,
    # all images have one size
    batch_sampler=None,
    dataset=dict(pipeline=train_pipeline),
)
val_evaluator = dict(
    _delete_=True,
    type='ProposalRecallMetric',
    ann_file='data/lvis_v1/annotations/ov_lvis_val_annotated.json',
    proposal_nums=(100, 300, 1000),
)
test_evaluator = val_evaluator
