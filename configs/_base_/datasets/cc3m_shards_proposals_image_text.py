# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pretraining on CC3M in tar shards with precomputed proposals; the model needs no localizer.

As cc3m_shards_image_text.py; the proposals move with their images. Make them first:
python tools/pretrain/precompute_proposals.py CONFIG
"""

_base_ = ['./cc3m_shards_image_text.py']

proposals_pipeline = [
    dict(type='LoadImageChecked', ignore_orientation=True),
    dict(type='LoadRegionProposals'),
    dict(
        type='MoveProposals',
        transforms=[_base_.resize, dict(type='RandomFlip', prob=0.5)],
    ),
    dict(type='PickCaption', first=5),
    dict(type='PackRegionInputs', meta_keys=_base_.meta_keys),
]

train_dataloader = dict(
    dataset=dict(proposals='proposals_rpn_lvis_866', pipeline=proposals_pipeline)
)
