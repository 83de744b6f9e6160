# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""LVIS, all 1203 classes: RN50x4 from RegionCLIP, settings of OV-LVIS; masks.

    bash tools/dist_train.sh \
        configs/supervised/regionclip_rn50x4_fpn-lsj_mask_8xb2-180k_lvis1203.py 8
    python tools/test.py configs/supervised/regionclip_rn50x4_fpn-lsj_mask_8xb2-180k_lvis1203.py \
        work_dirs/regionclip_rn50x4_fpn-lsj_mask_8xb2-180k_lvis1203/iter_180000.pth

The official localizer of this experiment has a CLIP backbone, which is not supported here: this
one uses the localizer of OV-LVIS.
"""

_base_ = './regionclip_rn50_fpn-lsj_mask_8xb2-180k_lvis1203.py'

model = dict(
    backbone=dict(arch='RN50x4'),
    roi_head=dict(
        bbox_head=dict(
            vocabulary='data/vocabularies/lvis_1203_rn50x4.pth',
        ),
    ),
)
load_from = 'checkpoints/regionclip_rn50x4_with_rpn_lvis_866_lsj.pth'
