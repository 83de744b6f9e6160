# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pretraining on Conceptual Captions (CC3M) in tar shards, as img2dataset downloads them.

In place of cc3m_image_text.py; images as in coco_captions_image_text.py. Damaged images are
skipped, counted and the first ones named. See docs/data.md.
"""

_base_ = ['./coco_captions_image_text.py']

data_root = 'data/cc3m_shards/'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='ShardSampler', buffer_shards=8),
    dataset=dict(
        _delete_=True,
        type='ImageTextShards',
        data_root=data_root,
        shards='*.tar',
        get_with=(
            'img2dataset --url_list cc3m.tsv --input_format tsv --url_col url --caption_col '
            'caption --output_format webdataset --output_folder data/cc3m_shards --resize_mode '
            'keep_ratio --image_size 800 --resize_only_if_bigger True'
        ),
        pipeline=_base_.train_pipeline,
    ),
)
