# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RoI head of the open-vocabulary detector."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.models.roi_heads import StandardRoIHead
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor


@MODELS.register_module()
class OpenVocabRoIHead(StandardRoIHead):
    """mmdet's ``StandardRoIHead`` with a region encoder in place of extractor and shared head.

    Assigning, sampling, targets and losses are mmdet's; only how a region becomes an embedding and
    how objectness enters the scores is ours.

    Args:
        region_encoder: Config of a ``RegionEncoder``.
        bbox_head: Config of a ``TextEmbeddingBBoxHead``.
        train_cfg: ``assigner`` and ``sampler``, as in mmdet.
        test_cfg: ``score_thr``, ``nms``, ``max_per_img``, ``objectness`` (``'none'``, ``'logit'``,
            ``'sigmoid'``; see ``fuse_objectness``).
        init_cfg: As in mmengine.
    """

    def __init__(
        self,
        region_encoder: dict,
        bbox_head: dict,
        train_cfg: ConfigDict | None = None,
        test_cfg: ConfigDict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            bbox_roi_extractor=region_encoder,
            bbox_head=bbox_head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=init_cfg,
        )

    def init_bbox_head(self, bbox_roi_extractor: dict, bbox_head: dict) -> None:
        """Build the region encoder and the box head."""
        self.region_encoder = MODELS.build(bbox_roi_extractor)
        self.bbox_head = MODELS.build(bbox_head)

    def _bbox_forward(self, x: Sequence[Tensor], rois: Tensor) -> dict[str, Tensor | None]:
        """Embed and score regions.

        Args:
            x: ``(C4 map,)``.
            rois: ``(R, 5)``.

        Returns:
            ``cls_score (R, K + 1)``, ``bbox_pred (R, 4)`` or None, ``bbox_feats (R, D)``.
        """
        embeddings = self.region_encoder(x, rois)
        cls_score, bbox_pred = self.bbox_head(embeddings)
        return dict(cls_score=cls_score, bbox_pred=bbox_pred, bbox_feats=embeddings)

    def predict_bbox(
        self,
        x: Sequence[Tensor],
        batch_img_metas: Sequence[dict],
        rpn_results_list: Sequence[InstanceData],
        rcnn_test_cfg: ConfigDict,
        rescale: bool = False,
    ) -> list[InstanceData]:
        """Detections of a batch.

        Args:
            x: ``(C4 map,)``.
            batch_img_metas: Metas of the ``B`` images.
            rpn_results_list: Per image ``bboxes`` and, for fusion, ``objectness_logits``.
            rcnn_test_cfg: See the class.
            rescale: Whether boxes are wanted in the original image's pixels.
        """
        rois = bbox2roi([proposals.bboxes for proposals in rpn_results_list])
        results = self._bbox_forward(x, rois)
        sizes = [len(proposals) for proposals in rpn_results_list]
        deltas = results['bbox_pred']
        return self.bbox_head.predict_by_feat(
            rois.split(sizes),
            results['cls_score'].split(sizes),
            [None] * len(sizes) if deltas is None else deltas.split(sizes),
            batch_img_metas,
            rcnn_test_cfg=rcnn_test_cfg,
            rescale=rescale,
            objectness=[proposals.get('objectness_logits') for proposals in rpn_results_list],
        )
