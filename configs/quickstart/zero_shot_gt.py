# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot classification of annotated boxes: how good are the region embeddings alone?

Stage 5 of tools/quickstart.py. Every (box, name) pair is kept, so that the share of boxes whose
best name is right can be counted from the results.
"""

_base_ = './detector.py'

model = dict(
    localizer=None,
    roi_head=dict(bbox_head=dict(with_reg=False)),
    test_cfg=dict(
        rcnn=dict(
            _delete_=True,
            score_thr=0.0,
            nms=dict(type='nms', iou_threshold=1.0),
            max_per_img=-1,
            objectness='none',
        )
    ),
)
test_dataloader = dict(dataset=dict(pipeline={{_base_.gt_proposals_test_pipeline}}))
train_dataloader = None  # nothing is trained
