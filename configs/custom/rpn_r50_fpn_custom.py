# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A localizer for a dataset of your own: the one of LVIS' 866 classes, trained on with your boxes.

    python tools/train.py configs/custom/rpn_r50_fpn_custom.py

Not run here; memory not measured. It begins with the official localizer, converted by
`python tools/convert_checkpoint.py downloads/rpn_lvis_866.pth -o checkpoints/rpn_lvis_866.pth`;
without it, delete the init_cfg of neck and rpn_head, and give the backbone that of
configs/localizers/rpn_r50-caffe_fpn_8xb2-180k_lvis866.py. One GPU, four images at a time; rate and
length are choices for some thousand images. COCO-format files; class names do not matter to it.
Results: proposals/R50@100 and so on, recall of all objects of the validation images.
"""

_base_ = [
    '../_base_/models/rpn_r50-caffe-fpn_training.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/rpn_90k.py',
    '../_base_/default_runtime.py',
]

# Yours, in the order of the annotation files, as in regionclip_rn50_fpn_custom.py.
base_classes = ('mug', 'teapot')
novel_classes = ('spoon',)
data_root = 'data/custom/'
start = 'checkpoints/rpn_lvis_866.pth'

model = dict(
    backbone=dict(
        frozen_stages=1,
        init_cfg=dict(type='PartPretrained', checkpoint=start, prefix='localizer.backbone'),
    ),
    neck=dict(init_cfg=dict(type='PartPretrained', checkpoint=start, prefix='localizer.neck')),
    rpn_head=dict(
        init_cfg=dict(type='PartPretrained', checkpoint=start, prefix='localizer.rpn_head'),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0),
    ),
)

train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        class_split='base',
        metainfo=dict(classes=base_classes, base_classes=base_classes, novel_classes=()),
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        get_with=None,
    ),
)
val_dataloader = dict(
    dataset=dict(
        class_split='all',
        metainfo=dict(
            classes=base_classes + novel_classes,
            base_classes=base_classes,
            novel_classes=novel_classes,
        ),
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        get_with=None,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='ProposalRecallMetric',
    ann_file=data_root + 'annotations/val.json',
    proposal_nums=(100, 300, 1000),
)
test_evaluator = val_evaluator

max_iters = 6000
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
optim_wrapper = dict(optimizer=dict(lr=0.001))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=501),
    dict(
        type='MultiStepLR',
        milestones=[4000, 5500],
        gamma=0.1,
        by_epoch=False,
        begin=0,
        end=max_iters,
    ),
]
auto_scale_lr = dict(base_batch_size=4)
