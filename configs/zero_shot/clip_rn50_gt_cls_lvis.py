# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region classification: OpenAI's CLIP RN50, annotated boxes, 1203 classes of LVIS.

    python tools/test.py configs/zero_shot/clip_rn50_gt_cls_lvis.py checkpoints/clip_rn50.pth

Accuracy and AP over every pair of box and class, without the threshold and NMS of published AP.
One GPU.
"""

_base_ = './regionclip_rn50_gt_cls_lvis.py'

load_from = 'checkpoints/clip_rn50.pth'
