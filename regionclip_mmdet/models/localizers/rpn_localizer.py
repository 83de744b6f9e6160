# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The frozen region proposal network that sees the image its own way."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from mmcv.ops import batched_nms
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..precision import StaysFloat32

CLIP_MEAN = (122.7709383, 116.7460125, 104.09373615)
CLIP_STD = (68.5005327, 66.6321579, 70.32316305)
IMAGENET_BGR_MEAN = (103.530, 116.280, 123.675)


@MODELS.register_module()
class RPNLocalizer(StaysFloat32, BaseModule):
    """A stock mmdet RPN, frozen, that proposes regions for a CLIP-normalized batch.

    It undoes CLIP's normalization, applies its own, and zeroes the padding again, since both
    networks were trained with padding after normalization. ``eval()`` survives ``train()``, float32
    survives ``half()``, nothing takes gradients, and proposals are selected on raw objectness
    logits: mmdet's sigmoid scores saturate to equal values in float32 above logits of about 17.

    Args:
        backbone: Config of an mmdet backbone.
        rpn_head: Config of an mmdet ``RPNHead``.
        neck: Config of an mmdet neck, for FPN.
        test_cfg: ``nms_pre`` (per level), ``nms``, ``max_per_img``, ``min_bbox_size`` (boxes must
            be strictly larger), as in mmdet's RPN; numbers below 1 set no limit.
        mean: Its own means, in its own channel order, 0..255.
        std: Its own standard deviations.
        bgr: Whether it expects BGR.
        input_mean: Means of the incoming RGB batch, 0..255.
        input_std: Standard deviations of the incoming batch.
        pad_size_divisor: Pads the batch to a multiple (32 for FPN).
        follow_autocast: Whether autocast, where the caller has switched it on, reaches the
            convolutions. By default they run in float32, which keeps the order of proposals, the
            cut at ``nms_pre`` and the objectness in fused scores as recorded. Selection is float32
            either way.
        channels_last: Compute in that memory format, which convolutions are fastest in.
        init_cfg: E.g. ``dict(type='LocalizerPretrained', checkpoint=...)``.
    """

    def __init__(
        self,
        backbone: dict,
        rpn_head: dict,
        neck: dict | None = None,
        test_cfg: dict | None = None,
        mean: Sequence[float] = IMAGENET_BGR_MEAN,
        std: Sequence[float] = (1.0, 1.0, 1.0),
        bgr: bool = True,
        input_mean: Sequence[float] = CLIP_MEAN,
        input_std: Sequence[float] = CLIP_STD,
        pad_size_divisor: int = 1,
        follow_autocast: bool = False,
        channels_last: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = None if neck is None else MODELS.build(neck)
        self.rpn_head = MODELS.build(rpn_head)
        if not getattr(self.rpn_head, 'use_sigmoid_cls', False):
            raise ValueError(
                'RPNLocalizer needs an RPNHead with one objectness logit per anchor: '
                "loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True)."
            )
        defaults = dict(nms_pre=1000, max_per_img=1000, min_bbox_size=0)
        defaults['nms'] = dict(type='nms', iou_threshold=0.7)
        self.test_cfg = ConfigDict({**defaults, **(test_cfg or {})})
        self.bgr = bgr
        self.pad_size_divisor = pad_size_divisor
        self.follow_autocast = follow_autocast
        self.channels_last = channels_last
        for name, value in (
            ('mean', mean),
            ('std', std),
            ('input_mean', input_mean),
            ('input_std', input_std),
        ):
            tensor = torch.tensor(value, dtype=torch.float32).view(3, 1, 1)
            self.register_buffer(name, tensor, persistent=False)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> RPNLocalizer:
        """Stay in eval mode in any case: the localizer is frozen."""
        return super().train(False)

    def check_inputs(self, data_preprocessor: nn.Module) -> None:
        """Refuse a model whose images are normalized otherwise than this localizer undoes it.

        Args:
            data_preprocessor: The model's; one without ``mean`` and ``std`` is not checked.

        Raises:
            ValueError: Its mean or std is not ``input_mean`` or ``input_std``.
        """
        for name in ('mean', 'std'):
            theirs = getattr(data_preprocessor, name, None)
            ours = getattr(self, f'input_{name}')
            if theirs is None or theirs.is_meta:  # a model without values, to look at
                continue
            if not torch.allclose(theirs.cpu().flatten(), ours.flatten()):
                raise ValueError(
                    f'The localizer undoes a normalization with {name} {ours.flatten().tolist()}, '
                    f'but data_preprocessor.{name} is {theirs.flatten().tolist()}. Give the '
                    f'localizer input_{name}=data_preprocessor.{name} (RGB, 0..255).'
                )

    # no_grad, not inference_mode: tensors of the latter cannot be saved for RoIAlign's backward
    @torch.no_grad()
    def forward(self, batch_inputs: Tensor, img_metas: Sequence[dict]) -> list[InstanceData]:
        """Propose regions.

        Args:
            batch_inputs: ``(B, 3, H, W)``, RGB, normalized with ``input_mean`` and ``input_std``,
                zero padded at the right and bottom.
            img_metas: With ``img_shape`` (height, width before padding) of each image.

        Returns:
            Per image, in descending order of objectness: ``bboxes (N, 4)`` in input pixels,
            ``scores (N,)`` (sigmoid) and ``objectness_logits (N,)``, float32. Anchors whose
            objectness is not finite propose nothing and take no place among the ``nms_pre``.
        """
        shapes = [tuple(meta['img_shape'][:2]) for meta in img_metas]
        x = self.convert_inputs(batch_inputs, shapes)
        precision = (
            nullcontext() if self.follow_autocast else torch.autocast(x.device.type, enabled=False)
        )
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with precision:
            feats = self.backbone(x)
            if self.neck is not None:
                feats = self.neck(feats)
            logits, deltas = self.rpn_head(feats)
        priors = self.rpn_head.prior_generator.grid_priors(
            [m.shape[-2:] for m in logits], dtype=torch.float32, device=batch_inputs.device
        )
        return [
            self._select([m[i] for m in logits], [m[i] for m in deltas], priors, shapes[i])
            for i in range(len(shapes))
        ]

    def convert_inputs(self, x: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
        """Re-normalize a batch and zero its padding.

        Args:
            x: ``(B, 3, H, W)`` as ``forward`` takes it.
            shapes: Height and width of each image before padding.

        Returns:
            ``(B, 3, H', W')`` in this network's channel order and normalization; ``H', W'`` are
            multiples of ``pad_size_divisor``.
        """
        x = self.renormalize(x)
        for image, (height, width) in zip(x, shapes, strict=True):
            image[:, height:] = 0
            image[:, :, width:] = 0
        return self.pad(x)

    def renormalize(self, x: Tensor) -> Tensor:
        """A batch as ``forward`` takes it, in this network's channel order and normalization."""
        x = x.float() * self.input_std + self.input_mean
        if self.bgr:
            x = x.flip(1)
        return (x - self.mean) / self.std

    def pad(self, x: Tensor) -> Tensor:
        """Zeros at the right and bottom, up to multiples of ``pad_size_divisor``."""
        pad_h, pad_w = (-size % self.pad_size_divisor for size in x.shape[-2:])
        return torch.nn.functional.pad(x, (0, pad_w, 0, pad_h))

    def _select(
        self,
        logits: list[Tensor],
        deltas: list[Tensor],
        priors: list[Tensor],
        img_shape: tuple[int, int],
    ) -> InstanceData:
        """Top anchors per level, decoded, NMS per level, best of all levels."""
        cfg = self.test_cfg
        boxes, objectness, levels = [], [], []
        for level, (level_logits, level_deltas, level_priors) in enumerate(
            zip(logits, deltas, priors, strict=True)
        ):
            flat = level_logits.permute(1, 2, 0).flatten().float()
            # topk ranks NaN first: broken logits would take the places of sound ones
            flat = flat.where(flat.isfinite(), -torch.inf)
            limit = cfg.nms_pre if cfg.nms_pre > 0 else len(flat)
            best, index = flat.topk(min(limit, len(flat)))
            delta = level_deltas.permute(1, 2, 0).reshape(-1, 4)[index].float()
            decoded = self.rpn_head.bbox_coder.decode(
                level_priors[index], delta, max_shape=img_shape
            )
            boxes.append(get_box_tensor(decoded))
            objectness.append(best)
            levels.append(torch.full_like(index, level))
        all_boxes, all_logits, all_levels = map(torch.cat, (boxes, objectness, levels))
        sides = all_boxes[:, 2:] - all_boxes[:, :2]
        valid = (sides > cfg.min_bbox_size).all(1) & all_logits.isfinite()
        all_boxes, all_logits, all_levels = (t[valid] for t in (all_boxes, all_logits, all_levels))
        if len(all_boxes):
            _, keep = batched_nms(all_boxes, all_logits, all_levels, cfg.nms)
            keep = keep[: cfg.max_per_img] if cfg.max_per_img > 0 else keep
            all_boxes, all_logits = all_boxes[keep], all_logits[keep]
        return InstanceData(
            bboxes=all_boxes, scores=all_logits.sigmoid(), objectness_logits=all_logits
        )
