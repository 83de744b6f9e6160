# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pretraining from shards with broken pairs in them, broken off and resumed.

Of tools/check_pretraining.py, which makes the files and sets the length. Teacher and student see
one image size here, as in the paper.
"""

_base_ = './pretrain.py'

model = dict(
    teacher=dict(scale=1.0),
    roi_head=dict(region_text_head=dict(concept_pool='work_dirs/quickstart/concepts/concepts.pth')),
)
train_dataloader = dict(
    _delete_=True,
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='ShardSampler', buffer_shards=4, tail='pad'),
    dataset=dict(
        type='ImageTextShards',
        data_root='work_dirs/quickstart/shards/',
        shards='*.tar',
        exclude='broken.tsv',
        proposals='../proposals',
        pipeline={{_base_.train_pipeline}},
    ),
)
train_cfg = dict(type='ResumableIterTrainLoop')
val_cfg = val_dataloader = val_evaluator = None  # no scenes are held out
default_hooks = dict(
    checkpoint=dict(
        _delete_=True, type='AtomicCheckpointHook', by_epoch=False, interval=20, max_keep_ckpts=3
    ),
    required_files=dict(type='RequiredFilesHook'),
    dataset_check=dict(type='DatasetCheckHook'),
    non_finite_loss=dict(type='NonFiniteLossHook'),
    save_on_signal=dict(type='SaveOnSignalHook'),
    throughput=dict(_delete_=True, type='NoHook'),
    pseudo_label_pictures=dict(_delete_=True, type='NoHook'),
    broken_images=dict(type='BrokenImagesHook', interval=10),
    sample_record=dict(type='SampleRecordHook'),
)
