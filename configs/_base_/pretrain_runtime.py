# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The runtime of pretraining: default_runtime.py, and what shows how such a run goes.

In the log and among the scalars: regions_kept, teacher_agreement, teacher_score (means over the
log's window), images_per_second, data_wait, images_skipped; visualizations of pseudo labels.
Accuracy on annotated boxes needs such boxes: datasets/coco65_region_naming.py.
"""

_base_ = './default_runtime.py'

default_hooks = dict(
    throughput=dict(type='ThroughputHook'),
    broken_images=dict(type='BrokenImagesHook'),
    pseudo_label_pictures=dict(type='PseudoLabelVisualizationHook', interval=5000),
)
log_processor = dict(
    mean_pattern='.*(loss|time|data_time|grad_norm|regions_kept|teacher_agreement|teacher_score).*'
)
