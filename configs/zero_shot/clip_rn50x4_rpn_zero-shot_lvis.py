# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot detection: OpenAI's CLIP RN50x4, the localizer's boxes, 1203 classes of LVIS.

    python tools/test.py configs/zero_shot/clip_rn50x4_rpn_zero-shot_lvis.py \
        checkpoints/clip_rn50x4_with_rpn_lvis_866.pth

One GPU.
"""

_base_ = './regionclip_rn50x4_rpn_zero-shot_lvis.py'

load_from = 'checkpoints/clip_rn50x4_with_rpn_lvis_866.pth'
