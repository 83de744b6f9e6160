# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The 20 images of docs/custom_dataset.md: trained on boxes of six classes, tested on eight.

    python tools/train.py configs/custom/example_transfer.py

The quickstart's tiny models; regionclip_rn50_fpn_custom.py is the same for real ones.
Results: coco/bbox_novel_ap50, coco/bbox_base_ap50, coco/bbox_all_ap50.
"""

_base_ = '../quickstart/transfer.py'

data_root = 'data/example/'
# In the order of the annotation files. Novel classes have no boxes in the training file.
base_classes = (
    'yellow star',
    'blue ring',
    'red heart',
    'green cross',
    'white moon',
    'purple triangle',
)
novel_classes = ('orange circle', 'cyan square')

model = dict(
    roi_head=dict(
        bbox_head=dict(
            vocabulary=data_root + 'base_names.pth', test_vocabulary=data_root + 'all_names.pth'
        )
    )
)
load_from = 'work_dirs/quickstart/pretrain/regionclip.pth'

train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type='OVCocoDataset',
        metainfo=dict(classes=base_classes, base_classes=base_classes, novel_classes=()),
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='OVCocoDataset',
        metainfo=dict(
            classes=base_classes + novel_classes,
            base_classes=base_classes,
            novel_classes=novel_classes,
        ),
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True, type='OVCocoAPMetric', ann_file=data_root + 'annotations/val.json'
)
test_evaluator = val_evaluator

# Short, and slow where CLIP's knowledge lies: see "How not to lose the open vocabulary".
max_iters = 40
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=4, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=36, begin=4, end=max_iters, by_epoch=False),
]
