# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-LVIS: RN50 from RegionCLIP, trained on 866 classes, tested on 1203; masks.

    bash tools/dist_train.sh configs/ov_lvis/regionclip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis.py 8
    python tools/test.py configs/ov_lvis/regionclip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis.py \
        work_dirs/regionclip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis/iter_180000.pth

16 images per iteration.
"""

_base_ = [
    '../_base_/models/regionclip_rn50_fpn_lvis_mask.py',
    '../_base_/datasets/ov_lvis_detection.py',
    '../_base_/schedules/lvis_transfer_180k.py',
    '../_base_/default_runtime.py',
]

model = dict(
    roi_head=dict(
        bbox_head=dict(
            vocabulary='data/vocabularies/ov_lvis_866_rn50.pth',
            test_vocabulary='data/vocabularies/lvis_1203_rn50.pth',
        )
    )
)
load_from = 'checkpoints/regionclip_rn50_with_rpn_lvis_866_lsj.pth'
