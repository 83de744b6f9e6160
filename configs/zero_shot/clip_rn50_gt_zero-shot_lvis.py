# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot detection: OpenAI's CLIP RN50, annotated boxes, 1203 classes of LVIS.

    python tools/test.py configs/zero_shot/clip_rn50_gt_zero-shot_lvis.py checkpoints/clip_rn50.pth

Published AP: 42.2 (thread 90 of the official repository).
One GPU.
"""

_base_ = './regionclip_rn50_gt_zero-shot_lvis.py'

load_from = 'checkpoints/clip_rn50.pth'
