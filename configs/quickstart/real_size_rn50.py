# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The full-size detector on one photograph, with generated weights: last stage of the quickstart.

It proves that the real path runs, and how long each part of it takes. Its names mean nothing.
"""

_base_ = '../_base_/models/regionclip_rn50_c4.py'

default_scope = 'mmdet'
custom_imports = dict(imports=['regionclip_mmdet'], allow_failed_imports=False)

vocabulary = 'work_dirs/quickstart/real_size/vocabulary.pth'
text_encoder = dict(type='CLIPTextEncoder', arch='RN50', init_cfg=dict(type='RandomWeights'))
# Ordinary words for the boxes to be named with.
names = [
    'person', 'helmet', 'flag', 'glove', 'face', 'rocket', 'badge', 'suit', 'hose', 'collar',
    'button', 'shoulder', 'hand', 'screen', 'curtain', 'patch', 'cup', 'table', 'spoon', 'cat',
]  # fmt: skip

model = dict(
    roi_head=dict(bbox_head=dict(vocabulary=vocabulary, with_reg=True)),
    test_cfg=dict(
        rcnn=dict(
            _delete_=True,
            score_thr=0.0,
            nms=dict(type='nms', iou_threshold=0.3),
            max_per_img=100,
            objectness='sigmoid',
        )
    ),
)
test_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True, backend='pillow'),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
test_dataloader = dict(
    dataset=dict(type='CocoDataset', metainfo=dict(classes=names), pipeline=test_pipeline)
)
