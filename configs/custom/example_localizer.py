# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A localizer on the 12 training images of docs/custom_dataset.md: where objects are.

    python tools/train.py configs/custom/example_localizer.py

Result: recall of all objects of the validation images, novel classes included.
"""

_base_ = '../quickstart/localizer.py'

data_root = 'data/example/'
names = ('yellow star', 'blue ring', 'red heart', 'green cross', 'white moon', 'purple triangle')
more_names = ('orange circle', 'cyan square')

train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type='OVCocoDataset',
        metainfo=dict(classes=names),
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='OVCocoDataset',
        metainfo=dict(classes=names + more_names),
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='ProposalRecallMetric',
    ann_file=data_root + 'annotations/val.json',
    proposal_nums=(5, 10, 50),
)
test_evaluator = val_evaluator

max_iters = 40
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=4, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=36, begin=4, end=max_iters, by_epoch=False),
]
