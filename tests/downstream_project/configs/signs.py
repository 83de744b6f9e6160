# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
_base_ = [__import__('regionclip_mmdet').config_path('quickstart/transfer.py')]
custom_imports = dict(
    imports=['regionclip_mmdet', 'signs'],
    allow_failed_imports=False,
)
names = dict(vocabulary='data/signs/base_names.pth', test_vocabulary='data/signs/all_names.pth')
model = dict(roi_head=dict(bbox_head=names))
data = dict(type='SignDataset', data_root='data/signs/')
train_dataloader = dict(
    batch_size=4,
    dataset=dict(ann_file='annotations/train.json', data_prefix=dict(img='train/'), **data),
)
val_dataloader = dict(
    dataset=dict(ann_file='annotations/val.json', data_prefix=dict(img='val/'), **data)
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True, type='OVCocoAPMetric', ann_file='data/signs/annotations/val.json'
)
test_evaluator = val_evaluator
load_from = 'work_dirs/quickstart/pretrain/regionclip.pth'
