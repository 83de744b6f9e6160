# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""LVIS v1, supervised: trained and evaluated on all 1203 classes, with masks.

Otherwise as ov_lvis_detection.py. mmdet's own base resizes with OpenCV.
"""

_base_ = ['./ov_lvis_detection.py']

get_annotations = (
    'wget https://s3-us-west-2.amazonaws.com/dl.fbaipublicfiles.com/LVIS/lvis_v1_train.json.zip '
    '-P data/lvis_v1/annotations && unzip data/lvis_v1/annotations/lvis_v1_train.json.zip '
    '-d data/lvis_v1/annotations'
)

train_dataloader = dict(
    dataset=dict(
        class_split='all', ann_file='annotations/lvis_v1_train.json', get_with=get_annotations
    )
)
