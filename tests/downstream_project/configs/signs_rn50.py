# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
_base_ = [__import__('regionclip_mmdet').config_path('custom/regionclip_rn50_fpn_custom.py')]
custom_imports = dict(imports=['regionclip_mmdet', 'signs'], allow_failed_imports=False)
names = dict(vocabulary='data/signs/base_names.pth', test_vocabulary='data/signs/all_names.pth')
model = dict(roi_head=dict(bbox_head=names))
# the class brings its names along; metainfo of the inherited config would win over them
data = dict(type='SignDataset', data_root='data/signs/', metainfo=None)
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='data/signs/annotations/val.json')
test_evaluator = val_evaluator
