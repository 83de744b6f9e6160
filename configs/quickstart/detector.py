# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The quickstart's open-vocabulary detector on scenes; base of zero-shot and transfer configs."""

_base_ = './scenes_detection.py'

model = dict(
    type='OpenVocabularyRCNN',
    data_preprocessor={{_base_.clip_preprocessor}},
    backbone={{_base_.backbone}},
    localizer={{_base_.localizer}},
    roi_head=dict(
        type='OpenVocabRoIHead',
        region_encoder={{_base_.region_encoder}},
        bbox_head=dict(
            type='TextEmbeddingBBoxHead',
            vocabulary={{_base_.base_vocabulary}},
            test_vocabulary={{_base_.all_vocabulary}},
            temperature={{_base_.temperature}},
            with_reg=True,
        ),
    ),
    test_cfg=dict(
        rcnn=dict(
            score_thr=0.001,
            nms=dict(type='nms', iou_threshold=0.5),
            max_per_img=100,
            objectness='none',
        )
    ),
)
default_hooks = dict(
    resume=dict(type='ResumeHook'),
    vocabulary_check=dict(type='VocabularyCheckHook'),
    dataset_check=dict(type='DatasetCheckHook'),
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
