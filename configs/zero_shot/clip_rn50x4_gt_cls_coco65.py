# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region classification: OpenAI's CLIP RN50x4, annotated boxes, 65 classes of OV-COCO.

    python tools/test.py configs/zero_shot/clip_rn50x4_gt_cls_coco65.py \
        checkpoints/clip_rn50x4.pth

Accuracy and AP over every pair of box and class, without the threshold and NMS of published AP.
One GPU.
"""

_base_ = './regionclip_rn50x4_gt_cls_coco65.py'

load_from = 'checkpoints/clip_rn50x4.pth'
