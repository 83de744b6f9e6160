# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-LVIS: RN50x4 from RegionCLIP, trained on 866 classes, tested on 1203; masks.

    bash tools/dist_train.sh configs/ov_lvis/regionclip_rn50x4_fpn-lsj_mask_8xb2-180k_ov-lvis.py 8
    python tools/test.py configs/ov_lvis/regionclip_rn50x4_fpn-lsj_mask_8xb2-180k_ov-lvis.py \
        work_dirs/regionclip_rn50x4_fpn-lsj_mask_8xb2-180k_ov-lvis/iter_180000.pth

Published AP: rare (novel) 22.0, all 32.3 (official model zoo).
16 images per iteration.
"""

_base_ = './regionclip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis.py'

model = dict(
    backbone=dict(arch='RN50x4'),
    roi_head=dict(
        bbox_head=dict(
            vocabulary='data/vocabularies/ov_lvis_866_rn50x4.pth',
            test_vocabulary='data/vocabularies/lvis_1203_rn50x4.pth',
        ),
    ),
)
load_from = 'checkpoints/regionclip_rn50x4_with_rpn_lvis_866_lsj.pth'
