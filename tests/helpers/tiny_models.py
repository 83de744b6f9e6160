# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Models small enough to be built, trained for a step and saved in a unit test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from regionclip_mmdet.conversion import export_clip_state_dict
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.models.weights import fill_weights

ARCH = dict(width=16, layers=(1, 1, 1, 1), embed_dim=32, image_size=64)
TEXT_ARCH = dict(context_length=12, vocab_size=49408, width=16, heads=2, layers=1, embed_dim=32)
NAMES = ('cat', 'dog', 'red ball')
LOCALIZER = dict(
    type='RPNLocalizer',
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=8,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
    ),
    rpn_head=dict(
        type='RPNHead',
        in_channels=16,
        feat_channels=16,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[2, 4], ratios=[0.5, 1.0], strides=[8]
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=(0.0,) * 4, target_stds=(0.5,) * 4),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
    ),
    test_cfg=dict(nms_pre=60, max_per_img=10, nms=dict(type='nms', iou_threshold=0.7)),
    std=(58.0,) * 3,
)
TRAIN_CFG = dict(
    rcnn=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.5,
            match_low_quality=False,
            ignore_iof_thr=-1,
        ),
        sampler=dict(type='RandomSampler', num=16, pos_fraction=0.5, add_gt_as_proposals=True),
        pos_weight=-1,
        debug=False,
    )
)
RANDOM = dict(type='RandomWeights')
fill = fill_weights


def clip_init(weights: Path | str | None) -> dict | None:
    """How a CLIP part is told its weights; None: random ones, on purpose."""
    return dict(RANDOM) if weights is None else dict(type='CLIPPretrained', checkpoint=str(weights))


def backbone(weights: Path | str | None = None, **settings: object) -> dict:
    return dict(type='CLIPResNet', arch=ARCH, init_cfg=clip_init(weights), **settings)


def encoder(weights: Path | str | None = None, **settings: object) -> dict:
    return dict(type='RegionEncoder', arch=ARCH, init_cfg=clip_init(weights), **settings)


def text_encoder(weights: Path | str | None = None) -> dict:
    return dict(type='CLIPTextEncoder', arch=TEXT_ARCH, init_cfg=clip_init(weights))


def localizer(weights: Path | str | None = None, **settings: object) -> dict:
    init_cfg = dict(RANDOM)
    if weights is not None:
        init_cfg = dict(type='LocalizerPretrained', checkpoint=str(weights))
    return {**LOCALIZER, 'init_cfg': init_cfg, **settings}


def vocabulary(names: Sequence[str] = NAMES, seed: int = 0, dim: int = 32) -> TextEmbeddings:
    """Random embeddings of names."""
    generator = torch.Generator().manual_seed(seed)
    return TextEmbeddings(tuple(names), torch.randn(len(names), dim, generator=generator))


def detector_config(weights: Path | str | None = None, **settings: object) -> ConfigDict:
    """Config of an ``OpenVocabularyRCNN``; ``bbox_head`` and ``rcnn`` update those parts.

    With ``with_mask=True`` it has a mask head, for maps of 2 x 2.
    """
    mask_head = dict(type='RegionMaskHead', in_channels=512, conv_out_channels=8)
    bbox_head = dict(type='TextEmbeddingBBoxHead', embed_dim=32, vocabulary=vocabulary())
    bbox_head.update(settings.pop('bbox_head', {}))
    rcnn = dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20)
    rcnn.update(settings.pop('rcnn', {}))
    roi_head = dict(type='OpenVocabRoIHead', region_encoder=encoder(weights), bbox_head=bbox_head)
    if settings.pop('with_mask', False):
        roi_head.update(mask_head=mask_head)
    config = dict(
        type='OpenVocabularyRCNN',
        backbone=backbone(weights),
        roi_head=roi_head,
        train_cfg=TRAIN_CFG,
        test_cfg=dict(rcnn=rcnn),
    )
    return ConfigDict({**config, **settings})


def regionclip_config(weights: Path | str | None = None, **settings: object) -> ConfigDict:
    """Config of a ``RegionCLIP``; ``region_text_head`` and ``roi_head`` update those parts."""
    region_text_head = dict(type='RegionTextHead', concept_pool=vocabulary())
    region_text_head.update(settings.pop('region_text_head', {}))
    roi_head = dict(
        type='RegionTextRoIHead',
        region_encoder=encoder(weights),
        region_text_head=region_text_head,
    )
    roi_head.update(settings.pop('roi_head', {}))
    config = dict(
        type='RegionCLIP',
        backbone=backbone(weights),
        roi_head=roi_head,
        teacher=dict(backbone=backbone(weights), region_encoder=encoder(weights)),
        text_encoder=text_encoder(weights),
        localizer=localizer(),
    )
    return ConfigDict({**config, **settings})


def save_clip(path: Path, seed: int = 0) -> Path:
    """A CLIP checkpoint that fits the tiny models."""
    parts = [fill(MODELS.build(cfg()), seed) for cfg in (backbone, encoder, text_encoder)]
    torch.save(export_clip_state_dict(*parts), path)
    return path


def save_localizer(path: Path, seed: int = 0) -> Path:
    """An mmdet-like checkpoint of backbone and RPN head."""
    torch.save(dict(state_dict=fill(MODELS.build(localizer()), seed).state_dict()), path)
    return path


def images(*sizes: tuple[int, int], seed: int = 0) -> Tensor:
    """Normalized images ``(H, W)`` as one batch, zero padded at the right and bottom."""
    generator = torch.Generator().manual_seed(seed)
    batch = torch.zeros(len(sizes), 3, max(h for h, _ in sizes), max(w for _, w in sizes))
    for row, (height, width) in zip(batch, sizes, strict=True):
        row[:, :height, :width] = torch.randn(3, height, width, generator=generator)
    return batch


def samples(
    *sizes: tuple[int, int],
    captions: Sequence[str] | None = None,
    proposals: Sequence[Tensor] | None = None,
    scale: float = 1.0,
) -> list[DetDataSample]:
    """Samples with two ground-truth boxes each."""
    found = []
    for i, (height, width) in enumerate(sizes):
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(height, width),
                ori_shape=(round(height / scale), round(width / scale)),
                scale_factor=(scale, scale),
                img_path=f'{i}.jpg',
            )
        )
        boxes = torch.tensor([[4.0, 4.0, 40.0, 36.0], [20.0, 10.0, 60.0, 50.0]])
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 2]))
        if captions is not None:
            sample.set_metainfo(dict(text=captions[i]))
        if proposals is not None:
            sample.proposals = InstanceData(bboxes=proposals[i])
        found.append(sample)
    return found
