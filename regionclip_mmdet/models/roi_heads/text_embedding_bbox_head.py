# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Box head whose classifier is a set of text embeddings."""

from __future__ import annotations

import os
from typing import Any

import torch
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.registry import MODELS
from mmdet.structures.bbox import scale_boxes
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from ...contracts import Vocabulary
from ..post_processing import fuse_objectness, select_detections
from ..precision import StaysFloat32
from ..recognition import at_least_float32, probabilities, region_logits
from ..text import TextEmbeddingClassifier, TextEmbeddings

FOCAL_SCALED = dict(type='FocalScaledCrossEntropyLoss', gamma=0.5, background_weight=0.2)
REPORTED_SCORES = ('fused', 'class')
L1 = dict(type='L1Loss', loss_weight=1.0)
BOX_CODER = dict(
    type='UpperClampBBoxCoder',
    target_means=(0.0, 0.0, 0.0, 0.0),
    target_stds=(0.1, 0.1, 0.2, 0.2),
    clip_border=True,
)


@MODELS.register_module()
class TextEmbeddingBBoxHead(StaysFloat32, BBoxHead):
    """Cosine classification against text and class-agnostic box regression (section 3.4).

    The logit of a class is ``cos(region, text) / temperature``, that of background exactly 0; the
    box regressor is one linear layer on the raw embedding. Targets and losses are those of mmdet's
    ``BBoxHead``: the box loss is divided by the number of all sampled regions.

    Args:
        embed_dim: Size ``D`` of the region embeddings; in an ``OpenVocabRoIHead`` its encoder's.
        vocabulary: Names to train on, e.g. a file made by ``TextEmbeddings.save``. Serves for
            testing too if there is no ``test_vocabulary``.
        test_vocabulary: Names to test on.
        temperature: Divides the cosines.
        num_classes: Only to be checked: the vocabulary says how many classes there are. Configs
            that inherit from mmdet's bring it along.
        with_reg: Whether boxes are refined; without, detections are the proposals (zero-shot).
        bbox_coder: Box delta coder.
        loss_cls: Classification loss.
        loss_bbox: Loss of the encoded deltas.
        init_cfg: As in mmdet; by default the box regressor starts with std 0.001.

    Raises:
        ValueError: A vocabulary's file cannot be read or has another width; ``num_classes`` is not
            the number of its names.
    """

    def __init__(
        self,
        embed_dim: int,
        vocabulary: str | os.PathLike | TextEmbeddings | None = None,
        test_vocabulary: str | os.PathLike | TextEmbeddings | None = None,
        temperature: float = 0.01,
        with_reg: bool = True,
        num_classes: int | None = None,
        bbox_coder: dict = BOX_CODER,
        loss_cls: dict = FOCAL_SCALED,
        loss_bbox: dict = L1,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        # BBoxHead insists on a predictor of its own; the regressor is always built, and dropped
        # again where it is not wanted.
        super().__init__(
            with_cls=False,
            with_reg=True,
            roi_feat_size=1,
            in_channels=embed_dim,
            num_classes=0,
            reg_class_agnostic=True,
            bbox_coder=bbox_coder,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            init_cfg=init_cfg,
        )
        if not with_reg:
            self.with_reg = False
            self.init_cfg = []
            del self.fc_reg
        self.classifier = TextEmbeddingClassifier(embed_dim, vocabulary, temperature)
        # always there, so that a checkpoint's testing names find their place; see classifier_for
        self.test_classifier = TextEmbeddingClassifier(embed_dim, test_vocabulary, temperature)
        known = self.classifier.num_classes or self.test_classifier.num_classes
        if num_classes is not None and known and num_classes != known:
            which = 'vocabulary' if self.classifier.num_classes else 'test_vocabulary'
            raise ValueError(
                f'bbox_head.num_classes is {num_classes}, but its {which} has {known} names. Leave '
                'num_classes out (in an inherited config: num_classes=None), or give the right '
                'vocabulary.'
            )

    def classifier_for(self, training: bool) -> TextEmbeddingClassifier:
        """The classifier of a mode.

        Testing falls back on the training names if there are no testing names, or if only a
        checkpoint brought some while the training names were given explicitly.
        """
        test = self.test_classifier
        named = test.is_explicit or test.missing_file is not None
        outranked = self.classifier.is_explicit and not named
        return self.classifier if training or outranked or not test.is_wanted else test

    @property
    def active_classifier(self) -> TextEmbeddingClassifier:
        """The classifier of the present mode, training or testing."""
        return self.classifier_for(self.training)

    @property
    def num_classes(self) -> int:
        """Number of active names ``K``, which is the label of background, too."""
        return self.active_classifier.num_classes

    @num_classes.setter
    def num_classes(self, value: int) -> None:
        """Ignored: ``BBoxHead`` sets a number, here the vocabulary says it."""

    def set_vocabulary(self, vocabulary: TextEmbeddings) -> None:
        """Use other names from now on, in training mode for training, else for testing."""
        (self.classifier if self.training else self.test_classifier).set_vocabulary(vocabulary)

    def forward(
        self, x: Tensor, vocabulary: Vocabulary | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits and box deltas of regions.

        Args:
            x: Region embeddings ``(R, D)``, not normalized.
            vocabulary: ``K`` class names in place of the active ones.

        Returns:
            Logits ``(R, K + 1)``, background last; deltas ``(R, 4)``, None without regressor.
            Both computed in float32, under autocast, too.
        """
        active = self.active_classifier
        if vocabulary is None:
            logits = active(x)
        else:
            logits = region_logits(x, vocabulary.matrix.to(x.device), active.temperature)
        if not self.with_reg:
            return logits, None
        with torch.autocast(x.device.type, enabled=False):
            return logits, self.fc_reg(at_least_float32(x))

    def loss(self, cls_score: Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Losses as in mmdet, with the same keys for a batch without regions, where mmdet has none.

        Args:
            cls_score: Logits ``(R, K + 1)``.
            *args: As in mmdet.
            **kwargs: As in mmdet.
        """
        losses = super().loss(cls_score, *args, **kwargs)
        if not cls_score.numel():  # processes with other images have the keys, and wait for these
            losses.update(loss_cls=cls_score.sum() * 0, acc=cls_score.new_zeros(1))
        return losses

    def _predict_by_feat_single(
        self,
        roi: Tensor,
        cls_score: Tensor,
        bbox_pred: Tensor | None,
        img_meta: dict,
        rescale: bool = False,
        rcnn_test_cfg: ConfigDict | None = None,
        objectness: Tensor | None = None,
    ) -> InstanceData:
        """Detections of one image, as ``select_detections`` returns them; see ``score_regions``."""
        boxes, scores, probs = self.score_regions(
            roi, cls_score, bbox_pred, img_meta, rcnn_test_cfg, objectness
        )
        results = select_detections(boxes, scores, rcnn_test_cfg)
        return self.finish_detections(results, probs, img_meta, rcnn_test_cfg, rescale)

    def score_regions(
        self,
        roi: Tensor,
        cls_score: Tensor,
        bbox_pred: Tensor | None,
        img_meta: dict,
        rcnn_test_cfg: ConfigDict,
        objectness: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes and scores of one image's regions, before anything is selected.

        Args:
            roi: ``(N, 5)``.
            cls_score: Logits ``(N, K + 1)``.
            bbox_pred: Deltas ``(N, 4)`` or None.
            img_meta: With ``img_shape``.
            rcnn_test_cfg: With ``objectness``.
            objectness: Objectness logits ``(N,)`` where they are fused.

        Returns:
            Boxes ``(N, 4)`` clipped to the image, NaN where they were not finite; scores
            ``(N, K)``; class probabilities ``(N, K)`` before fusion. All float32.
        """
        height, width = img_meta['img_shape'][:2]
        probs = probabilities(cls_score.float())
        scores = fuse_objectness(probs, objectness, rcnn_test_cfg.get('objectness', 'none'))
        boxes = roi[:, 1:].float()
        if bbox_pred is not None:
            boxes = self.bbox_coder.decode(boxes, bbox_pred.float())
        # clipping would make an infinite coordinate a valid one
        boxes = boxes.where(boxes.isfinite(), torch.nan)
        limit = boxes.new_tensor([width, height, width, height])
        return boxes.minimum(limit).clamp_min(0), scores[:, :-1], probs[:, :-1]

    @staticmethod
    def finish_detections(
        results: InstanceData,
        probs: Tensor,
        img_meta: dict,
        rcnn_test_cfg: ConfigDict,
        rescale: bool,
    ) -> InstanceData:
        """Scores to be reported, boxes in the wanted frame, empty ones dropped.

        Args:
            results: Of ``select_detections``.
            probs: Class probabilities ``(N, K)`` before fusion.
            img_meta: With ``scale_factor`` and ``ori_shape``, to rescale.
            rcnn_test_cfg: With ``report_scores``: ``'fused'``, or ``'class'`` for class
                probabilities in place of the scores that detections were selected and ordered by
                (the official ``VIS``; of no effect with soft-NMS).
            rescale: Whether boxes are wanted in the original image's pixels.

        Raises:
            ValueError: Unknown ``report_scores``.
        """
        reported = rcnn_test_cfg.get('report_scores', 'fused')
        if reported not in REPORTED_SCORES:
            raise ValueError(f'report_scores must be one of {REPORTED_SCORES}, not {reported!r}.')
        if reported == 'class' and rcnn_test_cfg['nms']['type'] == 'nms':
            results.scores = probs[results.region_inds, results.labels]
        if rescale and len(results):
            results.bboxes = scale_boxes(results.bboxes, [1 / s for s in img_meta['scale_factor']])
            if 'ori_shape' in img_meta:
                height, width = img_meta['ori_shape'][:2]
                limit = results.bboxes.new_tensor([width, height, width, height])
                results.bboxes = results.bboxes.minimum(limit)
        # a box regressed out of the image is clipped to nothing: no detection
        return results[(results.bboxes[:, 2:] > results.bboxes[:, :2]).all(1)]
