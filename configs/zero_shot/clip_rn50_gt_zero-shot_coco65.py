# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot detection: OpenAI's CLIP RN50, annotated boxes, 65 classes of OV-COCO.

    python tools/test.py configs/zero_shot/clip_rn50_gt_zero-shot_coco65.py \
        checkpoints/clip_rn50.pth

One GPU.
"""

_base_ = './regionclip_rn50_gt_zero-shot_coco65.py'

load_from = 'checkpoints/clip_rn50.pth'
