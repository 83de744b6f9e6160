# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-LVIS, evaluated on minival. Training as ov_lvis_detection.

Make the file first: python tools/data/prepare_ov_lvis.py data/lvis_v1 --parts val --minival IDS
"""

_base_ = ['./ov_lvis_detection.py']

prepare = 'python tools/data/prepare_ov_lvis.py data/lvis_v1 --parts val --minival IDS'

val_dataloader = dict(dataset=dict(ann_file='annotations/ov_lvis_minival.json', get_with=prepare))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.data_root + 'annotations/ov_lvis_minival.json')
test_evaluator = val_evaluator
