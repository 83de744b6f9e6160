# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What is timed: detection on one image, one pretraining step. Generated weights and inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from regionclip_mmdet.config_paths import config_path
from regionclip_mmdet.models.backbones import resolve_arch
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.models.weights import generated_model

MODEL_CONFIG = '_base_/models/regionclip_rn50_c4.py'
# Boxes in training are between these fractions of the image's short edge, by side.
BOX_SIDES = (0.04, 0.8)


@dataclass(frozen=True)
class Settings:
    """Sizes of a workload.

    Attributes:
        arch: CLIP ResNet, a name or sizes.
        text_arch: CLIP text tower, a name or sizes (pretraining); None takes ``arch``.
        image_size: Height and width of each image.
        batch_size: Images.
        proposals: Regions per image.
        names: Names of the vocabulary, or concepts of the pool.
        objectness: Fusion of scores (inference); see ``fuse_objectness``.
        positive_share: Share of proposals with a positive objectness logit (inference).
        localizer: Whether the localizer runs (its boxes are replaced by generated ones).
        device: Where to run.
        dtype: float32, or the reduced type of autocast.
    """

    arch: str | Mapping = 'RN50'
    text_arch: str | Mapping | None = None
    image_size: tuple[int, int] = (800, 1066)
    batch_size: int = 1
    proposals: int = 1000
    names: int = 65
    objectness: str = 'none'
    positive_share: float = 0.5
    localizer: bool = True
    device: str = 'cpu'
    dtype: str = 'float32'


class InferenceWorkload:
    """``OpenVocabularyRCNN.predict`` on one batch, zero-shot, with hard NMS and a top 100.

    Args:
        settings: Sizes.
    """

    parts = {
        'localizer': 'localizer',
        'backbone': 'backbone',
        'RoIAlign': 'roi_head.region_encoder.roi_align',
        'layer4': 'roi_head.region_encoder.layer4',
        'attention pool': 'roi_head.region_encoder.attnpool',
        'box head': 'roi_head.bbox_head',
    }
    rest = 'NMS and the rest'

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        cfg = _model_config(settings)
        cfg.roi_head.bbox_head.update(vocabulary=_embeddings(settings), with_reg=False)
        cfg.test_cfg.rcnn = ConfigDict(
            score_thr=0.001,
            nms=dict(type='nms', iou_threshold=0.5),
            max_per_img=100,
            objectness=settings.objectness,
            early_exit=settings.objectness != 'none',
        )
        self.model = _build(cfg, settings).eval()
        self.inputs, self.samples = _batch(settings)
        _prescribe_proposals(self.model, self.samples, settings)

    @torch.no_grad()
    def step(self) -> dict[str, Tensor]:
        """One prediction; detections of all images, to be compared between variants."""
        results = self.model.predict(self.inputs, [sample.clone() for sample in self.samples])
        found = [sample.pred_instances for sample in results]
        return {
            key: torch.cat([instances[key] for instances in found]).float().cpu()
            for key in ('scores', 'labels', 'bboxes')
        }


class PretrainingWorkload:
    """One step of ``RegionCLIP``: losses, gradients, SGD.

    Args:
        settings: Sizes.
    """

    parts = {
        'localizer': 'localizer',
        'teacher': 'teacher',
        'student backbone': 'backbone',
        'student region encoder': 'roi_head.region_encoder',
        'text encoder': 'text_encoder',
    }
    rest = 'losses, gradients and the rest'

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        detector = _model_config(settings)
        encoder = detector.roi_head.region_encoder
        encoder.chunk_size = None
        cfg = ConfigDict(
            type='RegionCLIP',
            data_preprocessor=detector.data_preprocessor,
            backbone=detector.backbone,
            teacher=dict(backbone=detector.backbone, region_encoder=encoder),
            text_encoder=dict(type='CLIPTextEncoder', arch=settings.text_arch or settings.arch),
            localizer=detector.localizer,
            num_regions=settings.proposals,
            roi_head=dict(
                type='RegionTextRoIHead',
                region_encoder=encoder,
                region_text_head=dict(type='RegionTextHead', concept_pool=_embeddings(settings)),
            ),
        )
        self.model = _build(cfg, settings).train()
        # as at the start of training: both sides are CLIP
        self.model.teacher.backbone.load_state_dict(self.model.backbone.state_dict())
        self.inputs, self.samples = _batch(settings)
        # both: the samples carry what the localizer would say; a switch decides who is asked
        _prescribe_proposals(self.model, self.samples, settings, in_samples=True)
        learned = [p for p in self.model.parameters() if p.requires_grad]
        # learning rate 0: every step computes the same, and the update costs what it costs
        self.optimizer = torch.optim.SGD(learned, lr=0.0, momentum=0.9, weight_decay=1e-4)

    def step(self) -> dict[str, Tensor]:
        """One step; its losses, to be compared between variants."""
        torch.manual_seed(0)
        reduced = self.settings.dtype != 'float32'
        with torch.autocast(
            torch.device(self.settings.device).type, _dtype(self.settings), enabled=reduced
        ):
            losses = self.model.loss(self.inputs, [sample.clone() for sample in self.samples])
        self.optimizer.zero_grad()
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        self.optimizer.step()
        return {key: value.detach().float().cpu() for key, value in losses.items()}


WORKLOADS = dict(inference=InferenceWorkload, pretraining=PretrainingWorkload)


def _dtype(settings: Settings) -> torch.dtype:
    return getattr(torch, settings.dtype) if settings.dtype != 'float32' else torch.bfloat16


def _model_config(settings: Settings) -> ConfigDict:
    cfg = Config.fromfile(config_path(MODEL_CONFIG)).model
    cfg.backbone.arch = cfg.roi_head.region_encoder.arch = settings.arch
    cfg.roi_head.bbox_head.embed_dim = resolve_arch(settings.arch).embed_dim
    if not settings.localizer:
        cfg.localizer = None
    return cfg


def _build(cfg: ConfigDict, settings: Settings) -> nn.Module:
    return generated_model(ConfigDict(model=cfg), text_encoder=False).to(settings.device)


def _embeddings(settings: Settings) -> TextEmbeddings:
    generator = torch.Generator().manual_seed(1)
    width = resolve_arch(settings.arch).embed_dim
    matrix = torch.randn(settings.names, width, generator=generator)
    return TextEmbeddings(tuple(f'name {i}' for i in range(settings.names)), matrix)


def _batch(settings: Settings) -> tuple[Tensor, list[DetDataSample]]:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(settings.batch_size, 3, *settings.image_size, generator=generator)
    metainfo = dict(
        img_shape=settings.image_size,
        ori_shape=settings.image_size,
        scale_factor=(1.0, 1.0),
        text='a photo of a dog that runs after a ball on the beach',
    )
    samples = [DetDataSample(metainfo=metainfo) for _ in range(settings.batch_size)]
    return inputs.to(settings.device), samples


def _prescribe_proposals(
    model: nn.Module,
    samples: Sequence[DetDataSample],
    settings: Settings,
    in_samples: bool = False,
) -> None:
    """Generated boxes instead of the localizer's: those of random weights say nothing."""
    proposals = [_proposals(settings, seed=i) for i in range(settings.batch_size)]
    if model.localizer is not None:
        model.localizer.register_forward_hook(
            lambda module, args, output: [given.clone() for given in proposals]
        )
        if not in_samples:
            return
    for sample, given in zip(samples, proposals, strict=True):
        sample.proposals = given


def _proposals(settings: Settings, seed: int) -> InstanceData:
    """Boxes of all sizes, log-uniform; objectness logits falling evenly through zero."""
    generator = torch.Generator().manual_seed(3 + seed)
    height, width = settings.image_size
    low, high = (torch.tensor(side * min(height, width)).log() for side in BOX_SIDES)
    sides = (low + (high - low) * torch.rand(settings.proposals, 2, generator=generator)).exp()
    room = torch.tensor([width, height]) - sides
    corners = room * torch.rand(settings.proposals, 2, generator=generator)
    share = settings.positive_share
    logits = 10 * torch.linspace(share, share - 1, settings.proposals)
    return InstanceData(
        bboxes=torch.cat([corners, corners + sides], 1),
        scores=logits.sigmoid(),
        objectness_logits=logits,
    ).to(settings.device)
