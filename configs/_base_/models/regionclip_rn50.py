# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RegionCLIP's detector without localizer: CLIP RN50, C4 (COCO settings).

Expects data as mmdet loads it (BGR); the preprocessor turns it to RGB. Vocabularies, and where
weights come from, are for inheriting configs to say; so is the runtime.
"""

model = dict(
    type='OpenVocabularyRCNN',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        bgr_to_rgb=True,
        pad_size_divisor=1,
    ),
    backbone=dict(type='CLIPResNet', arch='RN50', frozen_stages=1),
    roi_head=dict(
        type='OpenVocabRoIHead',
        region_encoder=dict(type='RegionEncoder'),
        bbox_head=dict(
            type='TextEmbeddingBBoxHead',
            temperature=0.01,
            loss_cls=dict(type='FocalScaledCrossEntropyLoss', gamma=0.5, background_weight=0.2),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rcnn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type='RandomSampler',
                num=512,
                pos_fraction=0.25,
                neg_pos_ub=-1,
                add_gt_as_proposals=True,
            ),
            pos_weight=-1,
            debug=False,
        )
    ),
    test_cfg=dict(
        rcnn=dict(
            score_thr=0.001,
            nms=dict(
                type='global_soft_nms',
                method='gaussian',
                sigma=0.5,
                iou_threshold=0.5,
                min_score=0.001,
            ),
            max_per_img=100,
            objectness='none',
        )
    ),
)
