# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-LVIS: trained on 866 frequent and common classes with masks, evaluated on all 1203.

Images of rare classes are drawn more often (repeat factors, threshold 0.001). As in the official
code, images without any annotation are left out of the evaluation, too (docs/data.md).
Make the files first: python tools/data/prepare_ov_lvis.py data/lvis_v1
Results: lvis/bbox_AP, lvis/bbox_APr (novel), lvis/bbox_APc, lvis/bbox_APf; lvis/segm_AP and so on.
"""

_base_ = ['./coco_detection.py']

data_root = 'data/lvis_v1/'
prepare = 'python tools/data/prepare_ov_lvis.py data/lvis_v1'

train_pipeline = [
    dict(type='LoadImageChecked'),
    # polygons are drawn in the pooled box, as the official code does
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False),
    dict(
        type='RandomChoiceResize',
        scales=[640, 672, 704, 736, 768, 800],
        resize_type='ResizeShortestEdge',
        max_size=1333,
        backend='pillow',
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]

train_dataloader = dict(
    sampler=dict(_delete_=True, type='RepeatFactorSampler', threshold=0.001),
    dataset=dict(
        _delete_=True,
        type='OVLVISDataset',
        class_split='base',
        data_root=data_root,
        ann_file='annotations/ov_lvis_train_base.json',
        data_prefix=dict(img=''),
        filter_cfg=dict(filter_empty_gt=True),
        get_with=prepare,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='OVLVISDataset',
        class_split='all',
        data_root=data_root,
        ann_file='annotations/ov_lvis_val_annotated.json',
        data_prefix=dict(img=''),
        get_with=prepare,
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(
    _delete_=True,
    type='OVLVISMetric',
    ann_file=data_root + 'annotations/ov_lvis_val_annotated.json',
    metric=['bbox', 'segm'],
)
test_evaluator = val_evaluator
