# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region classification: RegionCLIP RN50, annotated boxes, 65 classes of OV-COCO.

    python tools/test.py configs/zero_shot/regionclip_rn50_gt_cls_coco65.py \
        checkpoints/regionclip_rn50.pth

Accuracy and AP over every pair of box and class, without the threshold and NMS of published AP.
One GPU.
"""

_base_ = './regionclip_rn50_gt_zero-shot_coco65.py'

model = dict(
    test_cfg=dict(rcnn=dict(score_thr=0.0, nms=dict(iou_threshold=1.0), max_per_img=-1)),
)
val_evaluator = dict(_delete_=True, type='RegionClassificationMetric')
test_evaluator = val_evaluator
