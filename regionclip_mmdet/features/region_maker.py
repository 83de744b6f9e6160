# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From images to regions with embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor

from ..apis.encoding import encode_samples
from ..models.detectors import OpenVocabularyRCNN
from ..models.encoded_image import EncodedImage
from ..models.localizers import get_proposals
from ..models.post_processing import select_detections
from ..models.post_processing.detections import class_wise_nms
from ..models.recognition import region_chunks
from ..models.text import TextEmbeddings
from .given_boxes import GivenBoxes
from .regions import ImageRegions, RegionSettings


class RegionMaker:
    """A detector that finds, embeds and classifies regions.

    Args:
        model: detector with weights, on its device; its vocabulary is replaced where one is given.
        settings: which regions are kept.
        vocabulary: class names for regions. Without it detections have the model's, others none.
        keep_probs: return the probabilities of all class names, not only of the best.

    Raises:
        ValueError: the model is no ``OpenVocabularyRCNN``, lacks a localizer that is needed, or
            has another embedding dimension than the vocabulary.
        RuntimeError: a part of the model has random weights, or detections are wanted of a model
            without class names.
    """

    def __init__(
        self,
        model: OpenVocabularyRCNN,
        settings: RegionSettings,
        vocabulary: TextEmbeddings | None = None,
        keep_probs: bool = False,
    ) -> None:
        if not isinstance(model, OpenVocabularyRCNN):
            raise ValueError(
                f'Regions are embedded by an OpenVocabularyRCNN, not by a {type(model).__name__}. '
                'The weights of a pretrained RegionCLIP load into a config of zero-shot detection, '
                'configs/zero_shot/.'
            )
        if settings.source != 'given' and model.localizer is None:
            raise ValueError(
                'The config has no localizer to propose regions. Take one with a localizer '
                '(configs/zero_shot/*_rpn_*.py), or give the boxes.'
            )
        self.model, self.settings, self.keep_probs = model.eval(), settings, keep_probs
        model.ensure_weights()
        if vocabulary is not None:
            model.set_vocabulary(vocabulary)
        self.vocabulary: TextEmbeddings | None = None
        if vocabulary is not None or settings.source == 'detections':
            classifier = model.roi_head.bbox_head.active_classifier
            classifier.require_vocabulary()
            self.vocabulary = classifier.vocabulary

    @property
    def names(self) -> tuple[str, ...]:
        """Class names that regions are classified into."""
        return () if self.vocabulary is None else self.vocabulary.names

    @property
    def width(self) -> int:
        """Dimension ``D`` of the embeddings."""
        return self.model.roi_head.region_encoder.embed_dim

    @property
    def top(self) -> int:
        """Number ``T`` of class names that are kept of a region."""
        return min(self.settings.top, len(self.names))

    @torch.no_grad()
    def make(
        self, packed: Sequence[dict[str, Any]], given: Sequence[GivenBoxes] = ()
    ) -> list[ImageRegions]:
        """Regions of images that are computed together.

        Args:
            packed: samples of ``ImageInputs`` of equal size: ``inputs`` uint8 ``(3, H, W)`` and
                ``data_samples``. Padding would change the features at their border.
            given: boxes of each image, if the source is ``'given'``.

        Raises:
            ValueError: images of different sizes.
        """
        shapes = {tuple(sample['inputs'].shape) for sample in packed}
        if len(shapes) != 1:
            raise ValueError(f'Images of one batch must have one size, not {sorted(shapes)}.')
        if self.settings.source == 'given':
            chosen = [self._choose(boxes) for boxes in given]
            boxes = [torch.from_numpy(boxes.boxes) for boxes in chosen]
            encoded = encode_samples(self.model, packed, boxes, all_regions=True)
            return [self._of_given(*pair) for pair in zip(encoded, chosen, strict=True)]
        if self.settings.source == 'localizer':
            self._propose(packed)
            encoded = encode_samples(self.model, packed, all_regions=True)
            return [self._of_proposals(image) for image in encoded]
        return [self._of_detections(image) for image in encode_samples(self.model, packed)]

    def _propose(self, packed: Sequence[dict[str, Any]]) -> None:
        """Add the proposals that are kept to the samples: others need not be embedded."""
        batch = self.model.data_preprocessor(pseudo_collate(packed), False)
        proposals = get_proposals(self.model.localizer, batch['inputs'], batch['data_samples'])
        for sample, found in zip(packed, proposals, strict=True):
            logits = found.objectness_logits
            # the sigmoid makes large logits equal, so they are ordered by the logits
            keep = self._select(found.bboxes.float(), logits.float().sigmoid(), logits.float())
            sample['data_samples'].proposals = found[keep]

    def _choose(self, given: GivenBoxes) -> GivenBoxes:
        scores = torch.from_numpy(given.scores)
        keep = self._select(torch.from_numpy(given.boxes), scores, scores).sort().values.numpy()
        return given.select(keep)

    def _select(self, boxes: Tensor, scores: Tensor, order: Tensor) -> Tensor:
        """Rows to be kept, the best first: above the threshold, after NMS, not too many."""
        settings = self.settings
        # what has no score comes last, in its order; NaN would come first
        order = order.nan_to_num(nan=-torch.inf)
        rows = order.argsort(descending=True, stable=True)
        if settings.score_thr is not None:
            rows = rows[scores[rows] > settings.score_thr]
        if settings.nms == 'class-agnostic':
            labels = torch.zeros_like(rows)
            rows = rows[class_wise_nms(boxes[rows], order[rows], labels, settings.nms_iou)]
        return rows[: settings.max_regions]

    def _of_given(self, encoded: EncodedImage, given: GivenBoxes) -> ImageRegions:
        return self._finish(
            encoded,
            encoded.boxes,
            scores=torch.from_numpy(given.scores),
            labels=torch.from_numpy(given.labels),
            box_ids=torch.from_numpy(given.ids),
            dropped=given.dropped,
        )

    def _of_proposals(self, encoded: EncodedImage) -> ImageRegions:
        height, width = encoded.img_meta['ori_shape'][:2]
        limit = encoded.boxes.new_tensor([width, height, width, height])
        boxes = encoded.boxes.minimum(limit).clamp_min(0)
        return self._finish(encoded, boxes, scores=_logits(encoded).sigmoid())

    def _of_detections(self, encoded: EncodedImage) -> ImageRegions:
        """The model's detections, each with the embedding of its proposal."""
        settings = self.settings
        overrides: dict[str, Any] = {}
        if settings.score_thr is not None:
            overrides.update(score_thr=settings.score_thr)
        if settings.max_regions is not None:
            overrides.update(max_per_img=settings.max_regions)
        if settings.nms == 'class-agnostic':
            nms = dict(type='nms', iou_threshold=settings.nms_iou)
            found = self._detect_once(encoded, ConfigDict(**overrides, nms=nms))
        else:
            found = self.model.detect(encoded, masks=False, **overrides)
        return self._finish(
            encoded, found.bboxes, found.region_inds, scores=found.scores, labels=found.labels
        )

    def _detect_once(self, encoded: EncodedImage, overrides: ConfigDict) -> InstanceData:
        """Each region under its best name only, NMS over all of them."""
        head = self.model.roi_head.bbox_head
        cfg = ConfigDict({**self.model.roi_head.test_cfg, **overrides})
        embeddings = encoded.require_embeddings()
        boxes, best, labels, probs = [], [], [], []
        for rows in region_chunks(len(encoded), len(self.names)):
            logits, deltas = head(embeddings[rows])
            objectness = encoded.objectness_logits
            part, scores, all_probs = head.score_regions(
                F.pad(encoded.input_boxes[rows], (1, 0)),
                logits,
                deltas,
                encoded.img_meta,
                cfg,
                None if objectness is None else objectness[rows],
            )
            values, names = scores.max(dim=1)
            boxes.append(part)
            best.append(values)
            labels.append(names)
            probs.append(all_probs.gather(1, names[:, None]))
        found = select_detections(torch.cat(boxes), torch.cat(best)[:, None], cfg)
        # one column: the only name that a region has here
        found = head.finish_detections(found, torch.cat(probs), encoded.img_meta, cfg, rescale=True)
        found.labels = torch.cat(labels)[found.region_inds]
        return found

    def _finish(
        self,
        encoded: EncodedImage,
        boxes: Tensor,
        rows: Tensor | None = None,
        *,
        scores: Tensor,
        labels: Tensor | None = None,
        box_ids: Tensor | None = None,
        dropped: int = 0,
    ) -> ImageRegions:
        """As arrays, with names; ``rows`` are the regions that the boxes came from."""
        rows = torch.arange(len(encoded), device=encoded.boxes.device) if rows is None else rows
        none = torch.full((len(boxes),), -1)
        embeddings = encoded.require_embeddings()[rows]
        top_labels, top_scores, probs = self._classify(embeddings)
        return ImageRegions(
            size=tuple(encoded.img_meta['ori_shape'][:2]),
            boxes=boxes.float().cpu().numpy(),
            embeddings=embeddings.cpu().numpy(),
            objectness=_logits(encoded)[rows].float().cpu().numpy(),
            scores=scores.float().cpu().numpy(),
            labels=(none if labels is None else labels).int().cpu().numpy(),
            box_ids=(none if box_ids is None else box_ids).long().cpu().numpy(),
            top_labels=top_labels.int().cpu().numpy(),
            top_scores=top_scores.cpu().numpy(),
            probs=None if probs is None else probs.cpu().numpy(),
            dropped=dropped,
        )

    def _classify(self, embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The best names ``(N, T)``, their probabilities, and those of all names if wanted."""
        if not self.names:
            nothing = embeddings.new_zeros(len(embeddings), 0)
            return nothing, nothing, None
        classifier = self.model.roi_head.bbox_head.active_classifier
        labels, scores, all_probs = [], [], []
        for rows in region_chunks(len(embeddings), len(self.names)):
            probs = classifier.probabilities(embeddings[rows])
            best = probs[:, : len(self.names)].topk(self.top, dim=-1)
            labels.append(best.indices)
            scores.append(best.values)
            if self.keep_probs:
                all_probs.append(probs)
        kept = torch.cat(all_probs) if self.keep_probs else None
        return torch.cat(labels), torch.cat(scores), kept


def _logits(encoded: EncodedImage) -> Tensor:
    """Objectness logits ``(N,)``; NaN of given boxes."""
    if encoded.objectness_logits is None:
        return encoded.boxes.new_full((len(encoded),), torch.nan)
    return encoded.objectness_logits
