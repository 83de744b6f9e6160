# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region accuracy during pretraining: the student classifies COCO's annotated boxes, 65 classes.

Beside the bases of a pretraining config, which then says how often, and for another student than
RN50 with which embeddings:

    _base_ = [
        '../pretrain/regionclip_rn50_32xb3-600k_cc3m.py',
        '../_base_/datasets/coco65_region_naming.py',
    ]
    train_cfg = dict(val_interval=10000)
    val_cfg = dict(vocabulary='data/vocabularies/ov_coco_65_rn50x4.pth')  # RN50x4 alone

500 images of the 4836, evenly spread, read as in zero-shot tests. Results: regions/top1,
regions/top5, regions/ap, each also with base_ and novel_. Make the files first:

    python tools/data/prepare_ov_coco.py data/coco
    python tools/embed_names.py ov_coco_65 --arch RN50 -o data/vocabularies/ov_coco_65_rn50.pth
"""

val_cfg = dict(
    type='RegionClassificationLoop',
    vocabulary='data/vocabularies/ov_coco_65_rn50.pth',
    max_images=500,
)
val_evaluator = dict(type='RegionClassificationMetric')
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='OVCocoDataset',
        class_split='all',
        data_root='data/coco/',
        ann_file='annotations/ov_coco_val_all.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        get_with='python tools/data/prepare_ov_coco.py data/coco',
        pipeline=[
            dict(type='LoadImageFromFile', imdecode_backend='pillow'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='ResizeShortestEdge', scale=800, max_size=1333, backend='pillow'),
            dict(type='ProposalsFromGT', max_num=500),
            dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            ),
        ],
    ),
)
