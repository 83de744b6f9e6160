# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The 20 images of docs/custom_dataset.md, zero-shot: before training on them, and after.

    python tools/test.py configs/custom/example_zero_shot.py \
        work_dirs/quickstart/pretrain/regionclip.pth

Results: coco/bbox_novel_ap50, coco/bbox_base_ap50, coco/bbox_all_ap50.
"""

_base_ = './example_transfer.py'

# A box regressor would have to be trained; the localizer's objectness helps instead.
model = dict(
    roi_head=dict(bbox_head=dict(with_reg=False)), test_cfg=dict(rcnn=dict(objectness='sigmoid'))
)
train_dataloader = train_cfg = optim_wrapper = param_scheduler = None  # nothing is trained
