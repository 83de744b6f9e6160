# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pretraining on Conceptual Captions (CC3M), as far as its images can still be downloaded.

JSON lines, one caption an image; images as in coco_captions_image_text.py. A few files of such
downloads are damaged: they are skipped, counted and the first ones named.
Make the file first: python tools/data/index_image_text.py data/cc3m
"""

_base_ = ['./coco_captions_image_text.py']

data_root = 'data/cc3m/'

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='train.jsonl',
        data_prefix=dict(img_path='images/'),
        skip_broken=True,
        get_with='python tools/data/index_image_text.py data/cc3m',
    )
)
