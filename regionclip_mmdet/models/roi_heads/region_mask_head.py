# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Class-agnostic mask head on the layer4 maps of regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.task_modules import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures.mask import PolygonMasks
from mmdet.structures.mask.structures import polygon_to_bitmap
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

SIGMOID_BCE = dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0)
MIN_BOX_SIDE = 0.1  # pixels; only keeps the stretching of a polygon finite


@MODELS.register_module()
class RegionMaskHead(FCNMaskHead):
    """Mask logits of regions: ``FCNMaskHead`` as a 2x deconvolution and a 1x1 convolution.

    One mask per region whatever its name, so the vocabulary may change. Loss (sigmoid
    cross-entropy, mean over all pixels of all foreground regions) and pasting are mmdet's. What
    differs from ``FCNMaskHead``, each time to match RegionCLIP's LVIS detector:

    * Polygons are rasterized in the very box that was pooled, at the size of the logits (no
      ``mask_size`` to configure). mmdet clips boxes to the image, in place on a CPU, and widens
      sides below one pixel; here the least side is 0.1 pixels.
    * The predictor starts with std 0.001. mmdet's initialization by the fan-out gives a single
      output channel std 1.4, i.e. logits far from 0.
    * Logits are float32 under autocast, too.

    Args:
        in_channels: Channels of layer4 (RN50: 2048); in an ``OpenVocabRoIHead`` its encoder's.
        conv_out_channels: Channels between the two layers.
        loss_mask: mmdet's ``CrossEntropyLoss`` with ``use_mask``, or a loss called like it.
    """

    def __init__(
        self, in_channels: int, conv_out_channels: int = 256, loss_mask: dict = SIGMOID_BCE
    ) -> None:
        super().__init__(
            num_convs=0,
            in_channels=in_channels,
            conv_out_channels=conv_out_channels,
            num_classes=1,
            class_agnostic=True,
            loss_mask=loss_mask,
        )

    def init_weights(self) -> None:
        """Fill the deconvolution by its fan-out, the predictor with std 0.001."""
        super().init_weights()
        nn.init.normal_(self.conv_logits.weight, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Mask logits ``(R, 1, 2h, 2w)``, float32, of layer4 maps ``(R, C, h, w)``."""
        return super().forward(x).float()

    def loss_and_target(
        self,
        mask_preds: Tensor,
        sampling_results: Sequence[SamplingResult],
        batch_gt_instances: Sequence[InstanceData],
        rcnn_train_cfg: ConfigDict,
    ) -> dict:
        """Loss and targets of the foreground regions of a batch.

        Without any foreground the loss is 0 and still depends on all parameters, as data-parallel
        training requires.

        Args:
            mask_preds: Logits ``(R, 1, h, w)`` of foreground regions, image by image.
            sampling_results: Per image the sampled regions, boxes in input pixels.
            batch_gt_instances: Per image ``masks``, as polygons (or bitmaps) in input pixels.
            rcnn_train_cfg: As in mmdet; its ``mask_size`` is ignored.

        Returns:
            ``loss_mask``, a dict with the entry of that name, and ``mask_targets (R, h, w)``.
        """
        cfg = ConfigDict({**rcnn_train_cfg, 'mask_size': tuple(mask_preds.shape[-2:])})
        return super().loss_and_target(mask_preds, sampling_results, batch_gt_instances, cfg)

    def get_targets(
        self,
        sampling_results: Sequence[SamplingResult],
        batch_gt_instances: Sequence[InstanceData],
        rcnn_train_cfg: ConfigDict,
    ) -> Tensor:
        """Targets ``(R, *mask_size)`` of 0 and 1; see ``loss_and_target``.

        Raises:
            ValueError: The images carry no masks.
        """
        for instances in batch_gt_instances:
            if 'masks' not in instances:
                raise ValueError(
                    f'{type(self).__name__} is trained on masks, but the samples carry none. Load '
                    "them: dict(type='LoadAnnotations', with_bbox=True, with_mask=True, "
                    'poly2mask=False); or train without mask_head.'
                )
        masks = [instances.masks for instances in batch_gt_instances]
        if not all(isinstance(mask, PolygonMasks) for mask in masks):
            return super().get_targets(sampling_results, batch_gt_instances, rcnn_train_cfg)
        targets = [
            rasterize_polygons(
                mask, sampled.pos_assigned_gt_inds, sampled.pos_priors, rcnn_train_cfg.mask_size
            )
            for mask, sampled in zip(masks, sampling_results, strict=True)
        ]
        return torch.cat(targets)


def rasterize_polygons(
    masks: PolygonMasks, inds: Tensor, boxes: Tensor, size: tuple[int, int]
) -> Tensor:
    """Cut objects out of boxes, each stretched to the same size, by the rules of the COCO API.

    Args:
        masks: Polygons of the objects of an image.
        inds: ``(R,)``, the object of each box.
        boxes: ``(R, 4)`` in the polygons' frame. Parts of them may lie outside the image.
        size: Height and width of the result.

    Returns:
        ``(R, *size)``, float32 zeros and ones, on the device of the boxes.
    """
    height, width = size
    bitmaps = np.zeros((len(boxes), height, width), np.float32)
    objects = [masks.masks[index] for index in inds.tolist()]
    for bitmap, polygons, box in zip(bitmaps, objects, boxes.cpu().numpy(), strict=True):
        corner, side = box[:2], np.maximum(box[2:] - box[:2], MIN_BOX_SIDE)
        stretch = np.array([width, height]) / side
        moved = [((np.reshape(p, (-1, 2)) - corner) * stretch).ravel() for p in polygons]
        bitmap[:] = polygon_to_bitmap(moved, height, width)
    return torch.from_numpy(bitmaps).to(boxes.device)
