# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What the experiments' configs say, against tables of the official settings."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from helpers import tiny_recipes
from regionclip_mmdet.config_paths import config_folder, shipped_configs
from regionclip_mmdet.known_files import NAME_LISTS, how_to_make
from regionclip_mmdet.models.localizers import RPNLocalizer

CONFIGS = Path(config_folder())
FAMILIES = ('localizers', 'ov_coco', 'ov_lvis', 'pretrain', 'supervised', 'zero_shot')
EXPERIMENTS = [
    path.relative_to(CONFIGS).as_posix()
    for family in FAMILIES
    for path in shipped_configs(family)
]
DETECTORS = [name for name in EXPERIMENTS if not name.startswith(('localizers', 'pretrain'))]
TRANSFER = [name for name in DETECTORS if not name.startswith('zero_shot')]
WIDTHS = dict(RN50=1024, RN50x4=640)
# Score threshold, soft-NMS, objectness, top-k, NMS of the localizer, box regressor.
TESTING = {
    'ov-coco': (0.001, True, 'none', 100, 0.7, True),
    'coco80': (0.001, True, 'none', 100, 0.7, True),
    'ov-lvis': (0.02, True, 'logit', 300, 0.7, True),
    'lvis1203': (0.02, True, 'logit', 300, 0.7, True),
    'gt_zero-shot_coco': (0.001, False, 'none', 100, None, False),
    'rpn_zero-shot_coco': (0.001, False, 'logit', 100, 0.9, False),
    'gt_zero-shot_lvis': (0.0001, False, 'none', 300, None, False),
    'rpn_zero-shot_lvis': (0.02, False, 'logit', 300, 0.9, False),
    # every pair of box and name
    'gt_cls': (0.0, False, 'none', -1, None, False),
}
# Schedule, and GPUs times images each.
SCHEDULES = {
    '180k_lvis866': ('rpn_180k', 8, 2),
    '737k_lvis866': ('rpn_lsj_737k', 64, 1),
    'localizers': ('rpn_90k', 8, 2),
    'ov_coco': ('coco_transfer_90k', 8, 2),
    'coco80': ('coco_transfer_90k', 8, 2),
    'ov_lvis': ('lvis_transfer_180k', 8, 2),
    'lvis1203': ('lvis_transfer_180k', 8, 2),
    'cc3m': ('pretrain_600k', 32, 3),
    'pretrain': ('pretrain_coco_23k', 32, 3),
}


@lru_cache
def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / name)


def find(name: str, table: dict[str, Any]) -> Any:
    """Value of the first key that occurs in the config's name, or in its family's."""
    return next(value for key, value in table.items() if key in name)


def test_there_are_all() -> None:
    assert len(EXPERIMENTS) == 63
    assert {name.split('/')[0] for name in EXPERIMENTS} == set(FAMILIES)


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_builds_without_any_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = load(name)
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    if name in DETECTORS:
        arch = cfg.model.backbone.arch
        assert arch == ('RN50x4' if '_rn50x4_' in name else 'RN50')
        assert model.backbone.arch == model.roi_head.region_encoder.arch
        assert model.roi_head.bbox_head.in_channels == WIDTHS[arch]
        assert (model.roi_head.with_mask) == ('_mask_' in name)
        assert isinstance(model.localizer, RPNLocalizer) == ('_gt_' not in name)


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_files_are_those_of_the_model_and_a_command_makes_them(name: str) -> None:
    cfg = load(name)
    arch = name.partition('clip_')[2].split('_')[0]
    for part in tiny_recipes.walk(cfg.model):
        for key in ('vocabulary', 'test_vocabulary', 'concept_pool', 'teacher_concept_pool'):
            path = part.get(key)
            if path is None:
                continue
            names, _, suffix = Path(path).stem.rpartition('_')
            assert suffix == ('rn50x4' if key.startswith('teacher') else arch)
            assert names in NAME_LISTS or names == 'coco_nouns_4764'
            assert 'tools/embed_names.py' in how_to_make(path)
    if name in DETECTORS:
        path = cfg.load_from
        assert Path(path).stem.startswith(
            ('clip_', 'regionclip_')[name.count('/regionclip')] + arch
        )
        assert 'tools/convert_checkpoint.py' in how_to_make(path)
        wanted = {'ov-coco': 'rpn_coco_48', 'coco80': 'rpn_coco_80', '_gt_': None}
        wanted |= {'zero-shot': 'rpn_lvis_866.', 'lvis': 'rpn_lvis_866_lsj.'}
        localizer = find(name, wanted)
        assert ('rpn' in path) == (localizer is not None)
        assert localizer is None or f'_with_{localizer}' in path
    else:
        assert cfg.get('load_from') is None


@pytest.mark.parametrize('name', DETECTORS)
def test_testing_follows_the_official_table(name: str) -> None:
    cfg = load(name)
    threshold, soft, objectness, top_k, localizer_nms, with_reg = find(name, TESTING)
    rcnn = cfg.model.test_cfg.rcnn
    assert (rcnn.score_thr, rcnn.max_per_img, rcnn.objectness) == (threshold, top_k, objectness)
    assert rcnn.nms.type == ('global_soft_nms' if soft else 'nms')
    assert rcnn.nms.iou_threshold == (1.0 if 'gt_cls' in name else 0.5)
    if soft:
        assert (rcnn.nms.method, rcnn.nms.sigma, rcnn.nms.min_score) == ('gaussian', 0.5, 0.001)
    assert cfg.model.roi_head.bbox_head.get('with_reg', True) == with_reg
    if localizer_nms is None:
        assert cfg.model.get('localizer') is None
        transforms = [t.type for t in cfg.test_dataloader.dataset.pipeline]
        order = [transforms.index(t) for t in ('LoadAnnotations', 'ResizeShortestEdge')]
        assert order == sorted(order) and transforms[-2] == 'ProposalsFromGT'
        assert cfg.test_dataloader.dataset.pipeline[-2].max_num == 500
    else:
        proposals = cfg.model.localizer.test_cfg
        assert proposals.nms.iou_threshold == localizer_nms
        assert proposals.max_per_img == 1000
        assert proposals.nms_pre == (1000 if 'neck' in cfg.model.localizer else 6000)
        assert ('neck' in cfg.model.localizer) == ('coco80' not in name and 'ov-coco' not in name)
        lsj = 'num_convs' in cfg.model.localizer.rpn_head
        assert lsj == ('lvis' in name and 'zero-shot' not in name)
    resize = next(t for t in cfg.test_dataloader.dataset.pipeline if 'Resize' in t.type)
    assert (resize.scale, resize.max_size, resize.backend) == (800, 1333, 'pillow')
    assert cfg.test_dataloader.batch_size == 1


@pytest.mark.parametrize('name', TRANSFER)
def test_transfer_learns_as_the_official_code(name: str) -> None:
    cfg = load(name)
    loss = cfg.model.roi_head.bbox_head.loss_cls
    rcnn = cfg.model.train_cfg.rcnn
    if 'lvis' in name:
        assert (loss.gamma, loss.background_weight, loss.normalizer) == (0.0, 0.8, 'weights')
        sampler = cfg.train_dataloader.sampler
        assert (sampler.type, sampler.threshold) == ('RepeatFactorSampler', 0.001)
    else:
        assert (loss.gamma, loss.background_weight) == (0.5, 0.2)
        assert 'normalizer' not in loss
        assert cfg.train_dataloader.sampler.type == 'DefaultSampler'
    assert (rcnn.sampler.num, rcnn.sampler.pos_fraction) == (512, 0.25)
    assert rcnn.sampler.add_gt_as_proposals
    assert rcnn.assigner.pos_iou_thr == rcnn.assigner.neg_iou_thr == 0.5
    assert cfg.model.backbone.frozen_stages == 1
    assert cfg.train_dataloader.batch_sampler.type == 'AspectRatioBatchSampler'
    assert cfg.train_cfg.val_interval == 25000
    assert cfg.optim_wrapper.get('clip_grad') is None


@pytest.mark.parametrize('name', [n for n in EXPERIMENTS if not n.startswith('zero_shot')])
def test_schedules_and_batches(name: str) -> None:
    cfg = load(name)
    schedule, gpus, images = find(name, SCHEDULES)
    wanted = load(f'_base_/schedules/{schedule}.py')
    for key in ('train_cfg', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr'):
        assert cfg[key] == wanted[key], key
    assert cfg.train_cfg.type == 'ResumableIterTrainLoop'
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'
    assert cfg.train_dataloader.batch_size == images
    assert cfg.auto_scale_lr.base_batch_size == gpus * images


@pytest.mark.parametrize('name', [n for n in EXPERIMENTS if n.startswith('pretrain')])
def test_pretraining_follows_the_official_settings(name: str) -> None:
    cfg = load(name)
    model = cfg.model
    ablated = name.endswith(('-only.py', '-sigmoid.py', '_random-regions.py'))
    precomputed = name.endswith('_proposals.py')
    if precomputed:
        assert model.localizer is None and cfg.train_dataloader.dataset.proposals
    if model.get('localizer') is not None or precomputed:
        proposals = (model.localizer or cfg.localizer).test_cfg
        assert (proposals.nms_pre, proposals.nms.iou_threshold) == (1000, 0.5)
        assert (proposals.max_per_img, model.num_regions) == (300, 100)
    assert model.roi_head.global_box == 'padded'
    head = model.roi_head.region_text_head
    if head is not None:
        assert (head.concept_threshold, head.teacher_temperature) == (0.1, 0.01)
        teacher = 'RN50x4' if 'rn50x4' in name else 'RN50'
        assert model.teacher.backbone.arch == teacher
        assert model.teacher.region_encoder.get('arch') in (None, teacher)  # None: derived
    if not ablated:
        assert {head.loss_contrast.temperature, head.loss_distill.temperature} == {0.01}
        assert model.roi_head.loss_image_text.uneven == 'trim'
        assert model.text_encoder.arch == model.backbone.arch
        assert model.text_encoder.truncate == 'official'
    assert 'batch_sampler' not in cfg.train_dataloader
    clip = cfg.optim_wrapper.clip_grad
    assert cfg.optim_wrapper.type == 'PerTensorClipOptimWrapper' and clip.max_norm == 5.0
    assert cfg.get('val_dataloader') is None
    kinds = [t.type for t in cfg.train_dataloader.dataset.pipeline]
    assert ('RandomProposals' in kinds) == ('random' in name)
    assert cfg.train_dataloader.dataset.pipeline[kinds.index('PickCaption')].first == 5


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_headers_say_how_to_run(name: str) -> None:
    text = (CONFIGS / name).read_text()
    header = ast.get_docstring(ast.parse(text))
    assert f'configs/{name}' in header
    if name in DETECTORS and name.startswith('zero_shot'):
        assert load(name).load_from in header
