# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot: OpenAI's CLIP RN50 names the localizer's boxes with the 1203 names of LVIS.

    python tools/test.py configs/zero_shot/clip_rn50_rpn_zero-shot_lvis.py \
        checkpoints/clip_rn50_with_rpn_lvis_866.pth

Published: not found (the paper has it in table 4). Not yet run here.
One GPU; memory not found.
"""

_base_ = './regionclip_rn50_rpn_zero-shot_lvis.py'

load_from = 'checkpoints/clip_rn50_with_rpn_lvis_866.pth'
