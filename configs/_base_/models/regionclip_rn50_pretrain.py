# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region-text pretraining: student and teacher are CLIP RN50, regions the R50-FPN localizer's.

Options named official (truncate, global_box, uneven) repeat what the published models were trained
with, where this package would do otherwise.
"""

_base_ = '../localizers/rpn_r50_fpn_pretrain.py'

clip = dict(type='CLIPPretrained', checkpoint='RN50/openai')

model = dict(
    type='RegionCLIP',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        bgr_to_rgb=True,
        pad_size_divisor=1,
    ),
    backbone=dict(type='CLIPResNet', arch='RN50', frozen_stages=1, init_cfg=clip),
    teacher=dict(
        backbone=dict(type='CLIPResNet', arch='RN50', frozen_stages=1, init_cfg=clip),
        region_encoder=dict(type='RegionEncoder', init_cfg=clip),
    ),
    text_encoder=dict(type='CLIPTextEncoder', arch='RN50', truncate='official', init_cfg=clip),
    localizer={{_base_.localizer}},
    num_regions=100,
    roi_head=dict(
        type='RegionTextRoIHead',
        region_encoder=dict(type='RegionEncoder', init_cfg=clip),
        region_text_head=dict(
            type='RegionTextHead',
            concept_pool='data/vocabularies/coco_nouns_4764_rn50.pth',
            concept_threshold=0.1,
            teacher_temperature=0.01,
            loss_contrast=dict(type='RegionTextContrastiveLoss', temperature=0.01),
            loss_distill=dict(type='RegionDistillationLoss', temperature=0.01),
        ),
        loss_image_text=dict(
            type='ImageTextContrastiveLoss', temperature=0.01, gather=True, uneven='trim'
        ),
        global_box='padded',
    ),
)
