# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The same with CLIP RN50x4 as student and teacher."""

_base_ = './regionclip_rn50_pretrain.py'

clip = dict(type='CLIPPretrained', checkpoint='RN50x4/openai')

model = dict(
    backbone=dict(arch='RN50x4', init_cfg=clip),
    teacher=dict(
        backbone=dict(arch='RN50x4', init_cfg=clip),
        region_encoder=dict(init_cfg=clip),
    ),
    text_encoder=dict(arch='RN50x4', init_cfg=clip),
    roi_head=dict(
        region_encoder=dict(init_cfg=clip),
        region_text_head=dict(concept_pool='data/vocabularies/coco_nouns_4764_rn50x4.pth'),
    ),
)
