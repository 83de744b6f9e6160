# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region-text pretraining on captioned scenes (section 3.3): about 5 minutes on 2 cores.

Stage 4 of tools/quickstart.py: student and teacher start from stage 2's CLIP, concepts come from
the captions. Scenes and captions are read from tar shards, proposals from files that stage 3's
localizer has made beforehand, so the model has no localizer.
"""

_base_ = ['./tiny_base.py', '../_base_/datasets/shapes_image_text.py']

model = dict(
    type='RegionCLIP',
    data_preprocessor={{_base_.clip_preprocessor}},
    backbone={{_base_.backbone}},
    # 320 pixels: near the size at which CLIP classifies this world's objects best
    teacher=dict(
        backbone={{_base_.backbone}}, region_encoder={{_base_.region_encoder}}, scale=5 / 3
    ),
    text_encoder={{_base_.text_encoder}},
    num_regions=8,
    roi_head=dict(
        type='RegionTextRoIHead',
        region_encoder={{_base_.region_encoder}},
        region_text_head=dict(
            type='RegionTextHead',
            concept_pool={{_base_.concept_pool}},
            concept_threshold=0.5,
            teacher_temperature={{_base_.temperature}},
            loss_contrast=dict(
                type='RegionTextContrastiveLoss', temperature={{_base_.temperature}}
            ),
            loss_distill=dict(type='RegionDistillationLoss', temperature={{_base_.temperature}}),
        ),
        # Captions of scenes name several objects, so a whole scene is a poor likeness of each.
        loss_image_text=dict(
            type='ImageTextContrastiveLoss',
            temperature={{_base_.temperature}},
            loss_weight=0.2,
        ),
    ),
)

meta_keys = {{_base_.meta_keys}}
train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadRegionProposals'),
    dict(
        type='MoveProposals',
        transforms=[
            dict(type='Resize', scale={{_base_.scene_scale}}, keep_ratio=True, backend='pillow'),
            dict(type='RandomFlip', prob=0.5),
        ],
    ),
    dict(type='PickCaption'),
    dict(type='PackRegionInputs', meta_keys=meta_keys),
]
train_dataloader = dict(
    batch_size=16,
    sampler=dict(_delete_=True, type='ShardSampler', buffer_shards=8),
    dataset=dict(
        _delete_=True,
        type='ImageTextShards',
        data_root='work_dirs/quickstart/pretrain/',
        shards='shards/*.tar',
        caption_key='captions',  # all of a scene, not the first alone
        proposals='proposals',
        pipeline=train_pipeline,
    ),
)
# Not part of the run: the scenes whose pseudo labels are looked at afterwards, with the localizer.
pseudo_label_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ImageTextDataset',
        data_root='data/shapes_world/scenes_train/',
        ann_file='captions.json',
        data_prefix=dict(img_path='images/'),
        pipeline=[
            dict(type='LoadImageFromFile', imdecode_backend='pillow'),
            dict(type='Resize', scale={{_base_.scene_scale}}, keep_ratio=True, backend='pillow'),
            dict(type='PickCaption', test_mode=True),
            dict(type='PackDetInputs', meta_keys=meta_keys),
        ],
    ),
)

max_iters = 400
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=100)
# For monitoring: the student classifies annotated boxes of held-out scenes; no choice rests on it.
val_cfg = dict(
    type='RegionClassificationLoop',
    vocabulary={{_base_.all_vocabulary}},
    temperature={{_base_.temperature}},
    max_images=50,
)
val_evaluator = dict(type='RegionClassificationMetric')
val_dataloader = dict(
    batch_size=10,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ShapesWorldDataset',
        data_root='data/shapes_world/scenes_val/',
        ann_file='instances.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile', imdecode_backend='pillow'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale={{_base_.scene_scale}}, keep_ratio=True, backend='pillow'),
            dict(type='ProposalsFromGT'),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'img_shape')),
        ],
    ),
)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    resume=dict(type='ResumeHook'),
    vocabulary_check=dict(type='VocabularyCheckHook'),
    throughput=dict(type='ThroughputHook'),
    pseudo_label_pictures=dict(type='PseudoLabelVisualizationHook', interval=400),
)
log_processor = dict(
    mean_pattern='.*(loss|time|data_time|grad_norm|regions_kept|teacher_agreement|teacher_score).*'
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-4, betas=(0.9, 0.98), weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=40, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=360, begin=40, end=max_iters, by_epoch=False),
]
