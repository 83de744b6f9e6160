# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RoI head of the open-vocabulary detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi, scale_boxes
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from ...contracts import Vocabulary
from ..encoded_image import EncodedImage
from ..post_processing import (
    add_label_names,
    detect_until_final,
    first_chunk,
    objectness_weight,
    select_detections,
)
from ..recognition import at_least_float32, region_chunks
from ..region_encoders import check_map_channels, embed_and_keep_maps, split_regions
from .text_embedding_bbox_head import TextEmbeddingBBoxHead


@MODELS.register_module()
class OpenVocabRoIHead(StandardRoIHead):
    """mmdet's ``StandardRoIHead`` with a region encoder in place of extractor and shared head.

    Assigning, sampling, targets and losses are mmdet's; only how a region becomes an embedding and
    how objectness enters the scores is ours. A mask head, if there is one, reads the layer4 maps:
    in training those of the sampled foreground, shared with the box branch; in testing those of
    the final boxes, pooled again.

    Args:
        region_encoder: Config of a ``RegionEncoder``, or of another that embeds regions (see
            ``region_encoders/any_encoder.py``).
        bbox_head: Config of a ``TextEmbeddingBBoxHead``; ``embed_dim`` follows from the encoder.
        mask_head: Config of a ``RegionMaskHead``, if masks are wanted; its ``in_channels`` follow
            from the encoder.
        train_cfg: ``assigner`` and ``sampler``, as in mmdet.
        test_cfg: ``score_thr``, ``nms``, ``max_per_img``, ``objectness`` (``'none'``, ``'logit'``,
            ``'sigmoid'``; see ``fuse_objectness``), and ``early_exit``: with objectness, regions
            that cannot become detections are not encoded (``detect_until_final``; True, a number
            of regions to begin with, or False). For masks, ``mask_thr_binary`` (0.5).
        init_cfg: As in mmengine.
    """

    bbox_head: TextEmbeddingBBoxHead
    region_encoder: Any  # a RegionEncoder, or another module that embeds regions
    test_cfg: ConfigDict

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
        """Build the region encoder and a box head for its embeddings.

        Raises:
            ValueError: The head expects embeddings of another size.
        """
        self.region_encoder = MODELS.build(bbox_roi_extractor)
        embed_dim = bbox_head.get('embed_dim') or self.region_encoder.embed_dim
        self.bbox_head = MODELS.build({**bbox_head, 'embed_dim': embed_dim})
        if self.bbox_head.in_channels != self.region_encoder.embed_dim:
            raise ValueError(
                f'bbox_head.embed_dim is {self.bbox_head.in_channels}, but this region encoder '
                f'makes {self.region_encoder.embed_dim}-dimensional embeddings. Leave embed_dim '
                'out: it follows from the region encoder.'
            )

    def init_mask_head(self, mask_roi_extractor: None, mask_head: dict) -> None:
        """Build a mask head for the region encoder's maps.

        Raises:
            ValueError: The head does not fit the maps, or the encoder has none.
        """
        channels = mask_head.get('in_channels') or getattr(
            self.region_encoder, 'map_channels', None
        )
        self.mask_head = MODELS.build({**mask_head, 'in_channels': channels})
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

    def encode(
        self,
        x: Sequence[Tensor],
        proposals: Sequence[InstanceData],
        metas: Sequence[dict],
        all_regions: bool = False,
        embed: bool = True,
    ) -> list[EncodedImage]:
        """The half of detection that no vocabulary enters; see ``OpenVocabularyRCNN.encode``.

        Args:
            x: ``(C4 map,)``.
            proposals: Per image ``bboxes`` and, for fusion, ``objectness_logits``.
            metas: Metas of the ``B`` images.
            all_regions: Keep regions that cannot become detections, too.
            embed: Whether regions are embedded at once, or each when it is needed.
        """
        fusion = self.test_cfg.get('objectness', 'none')
        images = []
        for i, (found, meta) in enumerate(zip(proposals, metas, strict=True)):
            logits = found.get('objectness_logits')
            rows = torch.arange(len(found), device=found.bboxes.device)
            if not all_regions and fusion != 'none' and logits is not None:
                # the scores of other regions are NaN with any vocabulary
                rows = rows[objectness_weight(logits, fusion).sqrt().isfinite()]
            to_original = [1 / scale for scale in meta.get('scale_factor', (1.0, 1.0))]
            image = EncodedImage(
                boxes=scale_boxes(found.bboxes, to_original)[rows],
                embeddings=None,
                objectness_logits=None if logits is None else logits[rows],
                img_meta=dict(meta),
                input_boxes=found.bboxes[rows],
                proposal_inds=rows,
                num_proposals=len(found),
                left_out_under=fusion if len(rows) < len(found) else None,
                feature_map=x[0][i : i + 1],
            )
            images.append(image)
        if not embed:
            return images
        embeddings = self.region_encoder(x, bbox2roi([image.input_boxes for image in images]))
        parts = at_least_float32(embeddings).split([len(image) for image in images])
        kept = {} if self.with_mask else dict(feature_map=None)
        return [
            replace(image, embeddings=part, **kept)
            for image, part in zip(images, parts, strict=True)
        ]

    def detect(
        self,
        encoded: EncodedImage,
        vocabulary: Vocabulary | None = None,
        cfg: ConfigDict | None = None,
        masks: bool = True,
        rescale: bool = True,
    ) -> InstanceData:
        """Detections of an encoded image; see ``OpenVocabularyRCNN.detect``.

        Args:
            encoded: Created by ``encode``.
            vocabulary: ``K`` class names; None: the active ones.
            cfg: Settings in place of ``test_cfg``.
            masks: Whether masks are wanted, if there is a mask head.
            rescale: Whether boxes are wanted in the original image's pixels.
        """
        cfg = self.test_cfg if cfg is None else cfg
        head, meta, objectness = self.bbox_head, encoded.img_meta, encoded.objectness_logits
        if vocabulary is None:
            head.active_classifier.require_vocabulary()
            vocabulary = head.active_classifier

        def score_regions(rows: Tensor | slice) -> tuple[Tensor, Tensor, Tensor]:
            rois = bbox2roi([encoded.input_boxes[rows]])
            if encoded.embeddings is None:
                embeddings = self.region_encoder((encoded.feature_map,), rois)
            else:
                embeddings = encoded.embeddings[rows]
            logits, deltas = head(embeddings, vocabulary)
            part = None if objectness is None else objectness[rows]
            return head.score_regions(rois, logits, deltas, meta, cfg, part)

        if encoded.embeddings is None and (chunk := first_chunk(cfg)):
            weight = objectness_weight(objectness, cfg.objectness)
            extent = max(meta['img_shape'][:2])
            results, (_, _, probs) = detect_until_final(score_regions, weight, extent, cfg, chunk)
        else:
            size = (len(encoded), len(vocabulary.names))
            scores = encoded.boxes.new_empty(size, dtype=torch.float32)
            # of the copies that softmax and fusion make, only those needed are kept whole
            probs = torch.empty_like(scores) if cfg.get('report_scores') == 'class' else None
            boxes = torch.empty_like(encoded.boxes, dtype=torch.float32)
            for rows in region_chunks(*size):
                boxes[rows], scores[rows], part = score_regions(rows)
                if probs is not None:
                    probs[rows] = part
            results = select_detections(boxes, scores, cfg)
        masks = masks and self.with_mask
        # masks bring boxes to the original image themselves
        results = head.finish_detections(results, probs, meta, cfg, rescale and not masks)
        if masks:
            (results,) = self.predict_mask(
                (encoded.feature_map,), [meta], [results], rescale=rescale
            )
        return add_label_names(results, vocabulary.names)

    def predict(
        self,
        x: Sequence[Tensor],
        rpn_results_list: Sequence[InstanceData],
        batch_data_samples: Sequence[DetDataSample],
        rescale: bool = False,
    ) -> list[InstanceData]:
        """``encode`` and ``detect`` of a batch, as mmdet calls it."""
        metas = [sample.metainfo for sample in batch_data_samples]
        embed = not first_chunk(self.test_cfg)
        encoded = self.encode(x, rpn_results_list, metas, all_regions=True, embed=embed)
        return [self.detect(image, rescale=rescale) for image in encoded]
