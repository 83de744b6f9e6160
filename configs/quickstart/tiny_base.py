# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What all quickstart configs share: sizes of the tiny CLIP, its normalization, the runtime."""

custom_imports = dict(imports=['regionclip_mmdet'], allow_failed_imports=False)
default_scope = 'mmdet'

arch = dict(width=16, layers=(1, 1, 2, 1), embed_dim=128, image_size=96)
text_arch = dict(context_length=32, vocab_size=49408, width=128, heads=4, layers=3)
clip_mean = [122.7709383, 116.7460125, 104.09373615]
clip_std = [68.5005327, 66.6321579, 70.32316305]
clip_preprocessor = dict(
    type='DetDataPreprocessor', mean=clip_mean, std=clip_std, bgr_to_rgb=True, pad_size_divisor=1
)

# What detectors see of a scene. Its objects, 24 to 66 pixels here, are smaller than those CLIP
# knows (44 to 92 pixels): the gap between object-centric web images and a detector's scenes.
scene_scale = (192, 192)
num_proposals = 12

localizer_backbone = dict(
    type='ResNet',
    depth=18,
    base_channels=16,
    num_stages=3,
    strides=(1, 2, 1),
    dilations=(1, 1, 1),
    out_indices=(2,),
    frozen_stages=-1,
    norm_cfg=dict(type='BN', requires_grad=True),
    norm_eval=False,
    style='pytorch',
)
localizer_head = dict(
    type='RPNHead',
    in_channels=64,
    feat_channels=64,
    anchor_generator=dict(
        type='AnchorGenerator', scales=[3.4, 5.2, 7.8], ratios=[1.0], strides=[8]
    ),
    bbox_coder=dict(
        type='DeltaXYWHBBoxCoder', target_means=(0.0, 0.0, 0.0, 0.0), target_stds=(0.2,) * 4
    ),
    loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
    loss_bbox=dict(type='SmoothL1Loss', beta=0.1, loss_weight=1.0),
)
localizer_test_cfg = dict(
    nms_pre=200,
    max_per_img=num_proposals,
    nms=dict(type='nms', iou_threshold=0.6),
    min_bbox_size=0,
)

# Files that earlier stages make; tools/quickstart.py gives their places.
clip_weights = 'work_dirs/quickstart/clip/clip.pth'
localizer_weights = 'work_dirs/quickstart/localizer/localizer.pth'
concept_pool = 'work_dirs/quickstart/pretrain/concepts.pth'
base_vocabulary = 'work_dirs/quickstart/clip/base.pth'
all_vocabulary = 'work_dirs/quickstart/clip/all.pth'
# Prompts in the style of the captions; the tiny CLIP has never read CLIP's own 80 templates.
prompts = ['a {}', 'a photo of a {}', 'a picture of a {}', 'an image showing a {}', 'this is a {}']
# CLIP's learned logit scale is 100 after 400 million pairs and about 20 here: its inverse.
temperature = 0.05

backbone = dict(
    type='CLIPResNet', arch=arch, init_cfg=dict(type='CLIPPretrained', checkpoint=clip_weights)
)
region_encoder = dict(
    type='RegionEncoder', init_cfg=dict(type='CLIPPretrained', checkpoint=clip_weights)
)
text_encoder = dict(
    type='CLIPTextEncoder',
    arch=dict(embed_dim=128, **text_arch),
    init_cfg=dict(type='CLIPPretrained', checkpoint=clip_weights),
)
localizer = dict(
    type='RPNLocalizer',
    backbone=localizer_backbone,
    rpn_head=localizer_head,
    test_cfg=localizer_test_cfg,
    mean=(103.530, 116.280, 123.675),
    std=(58.0, 57.0, 57.0),
    init_cfg=dict(type='LocalizerPretrained', checkpoint=localizer_weights),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=100000, save_optimizer=False),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'),  # draws nothing without --show or --show-dir
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(
    type='OpenVocabVisualizer',
    vis_backends=vis_backends,
    name='visualizer',
    topk=3,  # class names per box, the best first
    unique_boxes=True,  # a box with several classes is drawn once; 0.7: boxes of IoU 0.7, too
    max_detections=50,  # the best above score_thr; more hide each other
    draw_proposals=0,  # so many, in a further image
    min_side=400,  # smaller images are enlarged
)
log_processor = dict(type='LogProcessor', window_size=10, by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
