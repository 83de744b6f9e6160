# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RoI head of the open-vocabulary detector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from ..post_processing import (
    add_label_names,
    detect_until_final,
    first_chunk,
    objectness_weight,
)
from ..region_encoders import check_map_channels, embed_and_keep_maps, split_regions
from ..text import TextEmbeddingClassifier

Classifiers = Sequence[TextEmbeddingClassifier | None]


@MODELS.register_module()
class OpenVocabRoIHead(StandardRoIHead):
    """mmdet's ``StandardRoIHead`` with a region encoder in place of extractor and shared head.

    Assigning, sampling, targets and losses are mmdet's; only how a region becomes an embedding and
    how objectness enters the scores is ours. A mask head, if there is one, reads the layer4 maps:
    in training those of the sampled foreground, shared with the box branch; in testing those of
    the final boxes, pooled anew.

    Args:
        region_encoder: Config of a ``RegionEncoder``, or of another that embeds regions (see
            ``region_encoders/any_encoder.py``).
        bbox_head: Config of a ``TextEmbeddingBBoxHead``.
        mask_head: Config of a ``RegionMaskHead``, if masks are wanted.
        train_cfg: ``assigner`` and ``sampler``, as in mmdet.
        test_cfg: ``score_thr``, ``nms``, ``max_per_img``, ``objectness`` (``'none'``, ``'logit'``,
            ``'sigmoid'``; see ``fuse_objectness``), and ``early_exit``: with objectness, regions
            that cannot become detections are not encoded (``detect_until_final``; True, a number
            of regions to begin with, or False). For masks, ``mask_thr_binary`` (0.5).
        init_cfg: As in mmengine.
    """

    def __init__(
        self,
        region_encoder: dict,
        bbox_head: dict,
        mask_head: dict | None = None,
        train_cfg: ConfigDict | None = None,
        test_cfg: ConfigDict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            bbox_roi_extractor=region_encoder,
            bbox_head=bbox_head,
            mask_head=mask_head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=init_cfg,
        )

    def init_bbox_head(self, bbox_roi_extractor: dict, bbox_head: dict) -> None:
        """Build the region encoder and the box head.

        Raises:
            ValueError: The head expects embeddings of another width.
        """
        self.region_encoder = MODELS.build(bbox_roi_extractor)
        self.bbox_head = MODELS.build(bbox_head)
        if self.bbox_head.in_channels != self.region_encoder.embed_dim:
            raise ValueError(
                f'bbox_head.embed_dim is {self.bbox_head.in_channels}, but this region encoder '
                f'makes embeddings of width {self.region_encoder.embed_dim} (RN50: 1024, RN50x4: '
                '640).'
            )

    def init_mask_head(self, mask_roi_extractor: None, mask_head: dict) -> None:
        """Build the mask head on the region encoder's maps.

        Raises:
            ValueError: The head does not fit the maps, or the encoder has none.
        """
        self.mask_head = MODELS.build(mask_head)
        self.share_roi_extractor = True
        check_map_channels(self.region_encoder, self.mask_head.in_channels)
        if self.test_cfg is not None:
            self.test_cfg = ConfigDict({'mask_thr_binary': 0.5, **self.test_cfg})

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

    def embed_and_name(
        self, x: Sequence[Tensor], rois: Tensor, classifier: TextEmbeddingClassifier | None
    ) -> dict[str, Tensor | None]:
        """``_bbox_forward``, with other names than the active ones if a classifier is given."""
        if classifier is None:
            return self._bbox_forward(x, rois)
        embeddings = self.region_encoder(x, rois)
        cls_score, bbox_pred = self.bbox_head(embeddings, classifier)
        return dict(cls_score=cls_score, bbox_pred=bbox_pred, bbox_feats=embeddings)

    def bbox_loss(self, x: Sequence[Tensor], sampling_results: Sequence[SamplingResult]) -> dict:
        """Losses of the box head; one pass serves the mask head, too.

        Args:
            x: ``(C4 map,)``.
            sampling_results: Per image the sampled regions, foreground first.

        Returns:
            ``loss_bbox``, a dict of losses, and ``bbox_feats``: with a mask head the layer4 maps
            ``(F, C, h, w)`` of the foreground, else the embeddings ``(R, D)``.
        """
        if not self.with_mask:
            return super().bbox_loss(x, sampling_results)
        rois = bbox2roi([sampled.priors for sampled in sampling_results])
        foreground = torch.cat(
            [torch.arange(len(s.priors)) < len(s.pos_priors) for s in sampling_results]
        )
        embeddings, maps = embed_and_keep_maps(
            self.region_encoder, x, rois, foreground.to(rois.device)
        )
        cls_score, bbox_pred = self.bbox_head(embeddings)
        results = self.bbox_head.loss_and_target(
            cls_score, bbox_pred, rois, sampling_results, self.train_cfg
        )
        return dict(loss_bbox=results['loss_bbox'], bbox_feats=maps)

    def _mask_forward(
        self,
        x: Sequence[Tensor],
        rois: Tensor | None = None,
        pos_inds: Tensor | None = None,
        bbox_feats: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Mask logits of regions.

        Args:
            x: ``(C4 map,)``.
            rois: ``(R, 5)`` to be pooled, or None if there are maps.
            pos_inds: Not used: ``bbox_loss`` kept the maps of the foreground only.
            bbox_feats: layer4 maps ``(R, C, h, w)``.

        Returns:
            ``mask_preds (R, 1, 2h, 2w)``.
        """
        if rois is None:
            return dict(mask_preds=self.mask_head(bbox_feats))
        encoder = self.region_encoder
        parts = split_regions(encoder, rois)
        logits = [self.mask_head(encoder.region_maps(x, part)) for part in parts]
        return dict(mask_preds=torch.cat(logits))

    def predict(
        self,
        x: Sequence[Tensor],
        rpn_results_list: Sequence[InstanceData],
        batch_data_samples: Sequence[DetDataSample],
        rescale: bool = False,
        classifiers: Classifiers | None = None,
    ) -> list[InstanceData]:
        """Detections of a batch, with their names and, with a mask head, masks.

        Args:
            x: ``(C4 map,)``.
            rpn_results_list: Per image ``bboxes`` and, for fusion, ``objectness_logits``.
            batch_data_samples: ``B`` samples.
            rescale: Whether boxes are wanted in the original image's pixels.
            classifiers: Per image other names than the active ones, or None.

        Returns:
            Per image ``bboxes``, ``scores``, ``labels``, ``region_inds``, ``label_names`` (a list
            of ``M`` strings) and ``masks``.
        """
        metas = [sample.metainfo for sample in batch_data_samples]
        if classifiers is None:
            classifiers = [None] * len(metas)
        # masks bring boxes to the original image themselves
        results = self.predict_bbox(
            x,
            metas,
            rpn_results_list,
            self.test_cfg,
            rescale=rescale and not self.with_mask,
            classifiers=classifiers,
        )
        if self.with_mask:
            results = self.predict_mask(x, metas, results, rescale=rescale)
        active = self.bbox_head.active_classifier
        return [
            add_label_names(found, (active if own is None else own).names)
            for found, own in zip(results, classifiers, strict=True)
        ]

    def predict_bbox(
        self,
        x: Sequence[Tensor],
        batch_img_metas: Sequence[dict],
        rpn_results_list: Sequence[InstanceData],
        rcnn_test_cfg: ConfigDict,
        rescale: bool = False,
        classifiers: Classifiers | None = None,
    ) -> list[InstanceData]:
        """Detections of a batch.

        Args:
            x: ``(C4 map,)``.
            batch_img_metas: Metas of the ``B`` images.
            rpn_results_list: Per image ``bboxes`` and, for fusion, ``objectness_logits``.
            rcnn_test_cfg: See the class.
            rescale: Whether boxes are wanted in the original image's pixels.
            classifiers: Per image other names than the active ones, or None.
        """
        own = classifiers or [None] * len(batch_img_metas)
        if first_chunk(rcnn_test_cfg):
            return [
                self._predict_until_final(x, i, meta, proposals, rcnn_test_cfg, rescale, named_by)
                for i, (meta, proposals, named_by) in enumerate(
                    zip(batch_img_metas, rpn_results_list, own, strict=True)
                )
            ]
        if any(classifier is not own[0] for classifier in own):  # logits of several widths
            return [
                found
                for i, (meta, proposals, named_by) in enumerate(
                    zip(batch_img_metas, rpn_results_list, own, strict=True)
                )
                for found in self.predict_bbox(
                    [maps[i : i + 1] for maps in x],
                    [meta],
                    [proposals],
                    rcnn_test_cfg,
                    rescale,
                    [named_by],
                )
            ]
        rois = bbox2roi([proposals.bboxes for proposals in rpn_results_list])
        results = self.embed_and_name(x, rois, own[0])
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

    def _predict_until_final(
        self,
        x: Sequence[Tensor],
        index: int,
        img_meta: dict,
        proposals: InstanceData,
        rcnn_test_cfg: ConfigDict,
        rescale: bool,
        classifier: TextEmbeddingClassifier | None = None,
    ) -> InstanceData:
        """Detections of one image, encoding only regions that can matter; the same detections."""
        feats = [maps[index : index + 1] for maps in x]
        logits = proposals.get('objectness_logits')
        weight = objectness_weight(logits, rcnn_test_cfg.objectness)

        def score_regions(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            rois = bbox2roi([proposals.bboxes[rows]])
            found = self.embed_and_name(feats, rois, classifier)
            return self.bbox_head.score_regions(
                rois,
                found['cls_score'],
                found['bbox_pred'],
                img_meta,
                rcnn_test_cfg,
                logits[rows],
            )

        results, (_, _, probs) = detect_until_final(
            score_regions,
            weight,
            max(img_meta['img_shape'][:2]),
            rcnn_test_cfg,
            first_chunk(rcnn_test_cfg),
        )
        return self.bbox_head.finish_detections(results, probs, img_meta, rcnn_test_cfg, rescale)
