# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmdet's runtime, and checks: of files, of the data, that vocabulary and dataset agree."""

default_scope = 'mmdet'
custom_imports = dict(imports=['regionclip_mmdet'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    # validation's results are logged by iteration, too
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=5000, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'),
    # here, as a config's custom_hooks would replace the whole list; type='NoHook' leaves one out
    resume=dict(type='ResumeHook'),
    required_files=dict(type='RequiredFilesHook'),
    vocabulary_check=dict(type='VocabularyCheckHook'),
    dataset_check=dict(type='DatasetCheckHook'),
    batch_size_check=dict(type='BatchSizeCheckHook'),
    accumulation_check=dict(type='AccumulationCheckHook'),
    non_finite_loss=dict(type='NonFiniteLossHook'),
    save_on_signal=dict(type='SaveOnSignalHook'),
)
custom_hooks = []

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(
    type='OpenVocabVisualizer',
    vis_backends=vis_backends,
    name='visualizer',
    topk=3,  # class names per box, the best first
    unique_boxes=True,  # a box with several classes is drawn once; 0.7: boxes of IoU 0.7, too
    max_detections=50,  # the best above score_thr; more hide each other
    draw_proposals=0,  # number of proposals, drawn as a further image
    min_side=400,  # smaller images are enlarged
)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
