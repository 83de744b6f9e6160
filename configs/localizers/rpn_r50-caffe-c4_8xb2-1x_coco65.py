# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Localizer R50-C4, trained on boxes of the 65 classes of OV-COCO.

    bash tools/dist_train.sh configs/localizers/rpn_r50-caffe-c4_8xb2-1x_coco65.py 8

The official one was trained as part of a Mask R-CNN (detectron2, 1x); here the RPN alone is, with
its settings. 8 GPUs x 2 images.
"""

_base_ = './rpn_r50-caffe-c4_8xb2-1x_coco48.py'

train_dataloader = dict(
    dataset=dict(
        class_split='all',
        ann_file='annotations/instances_train2017.json',
        get_with={{_base_.get_annotations}},
    )
)
