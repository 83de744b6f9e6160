# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Student CLIP RN50, teacher CLIP RN50x4; each has its own embeddings of the concepts."""

_base_ = './regionclip_rn50_pretrain.py'

clip_teacher = dict(type='CLIPPretrained', checkpoint='RN50x4/openai')

model = dict(
    teacher=dict(
        backbone=dict(arch='RN50x4', init_cfg=clip_teacher),
        region_encoder=dict(init_cfg=clip_teacher),
    ),
    roi_head=dict(
        region_text_head=dict(teacher_concept_pool='data/vocabularies/coco_nouns_4764_rn50x4.pth')
    ),
)
