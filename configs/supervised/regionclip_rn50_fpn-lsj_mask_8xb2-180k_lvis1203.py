# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""LVIS, all 1203 classes: RN50 from RegionCLIP, settings of OV-LVIS; masks.

    bash tools/dist_train.sh configs/supervised/regionclip_rn50_fpn-lsj_mask_8xb2-180k_lvis1203.py 8
    python tools/test.py configs/supervised/regionclip_rn50_fpn-lsj_mask_8xb2-180k_lvis1203.py \
        work_dirs/regionclip_rn50_fpn-lsj_mask_8xb2-180k_lvis1203/iter_180000.pth

The official localizer of this experiment has a CLIP backbone, which is not supported here: this
one uses the localizer of OV-LVIS.
"""

_base_ = [
    '../_base_/models/regionclip_rn50_fpn_lvis_mask.py',
    '../_base_/datasets/lvis_detection.py',
    '../_base_/schedules/lvis_transfer_180k.py',
    '../_base_/default_runtime.py',
]

model = dict(
    roi_head=dict(bbox_head=dict(vocabulary='data/vocabularies/lvis_1203_rn50.pth')),
)
load_from = 'checkpoints/regionclip_rn50_with_rpn_lvis_866_lsj.pth'
