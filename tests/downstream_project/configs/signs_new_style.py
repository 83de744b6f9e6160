# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
from mmengine.config import read_base

with read_base():
    from .transfer_bridge import *

from signs import SignDataset

custom_imports['imports'] += ['signs']
model.roi_head.bbox_head.update(
    vocabulary='data/signs/base_names.pth', test_vocabulary='data/signs/all_names.pth'
)
train_dataloader.update(batch_size=4)
train_dataloader.dataset.update(
    type=SignDataset,
    data_root='data/signs/',
    ann_file='annotations/train.json',
    data_prefix=dict(img='train/'),
)
val_dataloader.dataset.update(
    type=SignDataset,
    data_root='data/signs/',
    ann_file='annotations/val.json',
    data_prefix=dict(img='val/'),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='OVCocoAPMetric', ann_file='data/signs/annotations/val.json')
test_evaluator = val_evaluator
load_from = 'work_dirs/quickstart/pretrain/regionclip.pth'
