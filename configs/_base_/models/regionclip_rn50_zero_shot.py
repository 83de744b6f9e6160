# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RegionCLIP as it was pretrained, classifying boxes that come with the data; nothing is trained.

No box regressor; ordinary NMS. Official test settings of COCO; those of LVIS: score_thr, top-k.
"""

_base_ = './regionclip_rn50.py'

model = dict(
    roi_head=dict(bbox_head=dict(with_reg=False)),
    test_cfg=dict(rcnn=dict(nms=dict(_delete_=True, type='nms', iou_threshold=0.5))),
)
