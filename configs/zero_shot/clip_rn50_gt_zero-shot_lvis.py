# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot: OpenAI's CLIP RN50 names annotated boxes with the 1203 names of LVIS.

    python tools/test.py configs/zero_shot/clip_rn50_gt_zero-shot_lvis.py checkpoints/clip_rn50.pth

Published AP: 42.2 (a thread of the official repository); APr / APc / APf: 40.3 / 41.7 / 43.6
(recalled from the paper, table 4). Not yet run here.
One GPU; memory not found.
"""

_base_ = './regionclip_rn50_gt_zero-shot_lvis.py'

load_from = 'checkpoints/clip_rn50.pth'
