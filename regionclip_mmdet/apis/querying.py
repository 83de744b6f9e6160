# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Naming the regions of an encoded image: the cheap half of detection."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from ..models.detectors import OpenVocabularyRCNN
from ..models.post_processing import add_label_names, select_detections
from ..models.recognition import at_least_float32, region_chunks, region_logits
from ..models.text import TextEmbeddings
from .encoded_image import EncodedImage

OVERRIDES = ('score_thr', 'max_per_img', 'nms', 'objectness', 'report_scores')


@torch.no_grad()
def query_image(
    model: OpenVocabularyRCNN,
    encoded: EncodedImage,
    vocabulary: TextEmbeddings,
    masks: bool = True,
    **overrides: Any,
) -> InstanceData:
    """The detections that ``model.predict`` would give with this vocabulary.

    The model is only read, its own vocabulary stays: several threads may ask at once.

    Args:
        model: The one that encoded the image.
        encoded: Of ``encode_images``.
        vocabulary: ``K`` names of the model's width.
        masks: Whether masks are wanted, too, if the model has a mask head. They cost a pass through
            layer4 for every detection.
        **overrides: Of the model's ``test_cfg.rcnn``: ``score_thr``, ``max_per_img``, ``nms``,
            ``objectness``, ``report_scores``.

    Returns:
        By falling score: ``bboxes (M, 4)`` x1 y1 x2 y2 in pixels of the original image,
        ``scores (M,)``, ``labels (M,)`` into the vocabulary's names, ``label_names``, these names,
        ``region_inds (M,)`` into the encoded image's regions; with a mask head ``masks (M, H, W)``,
        bool.

    Raises:
        TypeError: Unknown overrides.
        ValueError: Embeddings of another width; an objectness fusion that needs regions which were
            left out, or objectness that there is none of.
    """
    # it may have been kept on the CPU to save memory
    encoded = encoded.to(next(model.parameters()).device)
    cfg = _test_cfg(model, encoded, overrides)
    _check_widths(model, encoded, vocabulary)
    boxes, scores, probs = _score(model, encoded, vocabulary, cfg)
    results = select_detections(boxes, scores, cfg)
    masks = masks and encoded.feature_map is not None
    results = model.roi_head.bbox_head.finish_detections(
        results, probs, encoded.img_meta, cfg, rescale=not masks
    )
    if masks:
        (results,) = model.roi_head.predict_mask(
            (encoded.feature_map,), [encoded.img_meta], [results], rescale=True
        )
    return add_label_names(results, vocabulary.names)


def _test_cfg(
    model: OpenVocabularyRCNN, encoded: EncodedImage, overrides: dict[str, Any]
) -> ConfigDict:
    unknown = sorted(set(overrides) - set(OVERRIDES))
    if unknown:
        raise TypeError(f'query_image knows no {", ".join(unknown)}; only {", ".join(OVERRIDES)}.')
    if overrides.get('nms', ...) is None:
        raise TypeError("nms is a dict such as dict(type='nms', iou_threshold=0.5), not None.")
    cfg = ConfigDict({**model.roi_head.test_cfg, **overrides})
    fusion = cfg.get('objectness', 'none')
    if encoded.left_out_under is not None and fusion != encoded.left_out_under:
        raise ValueError(
            f'{encoded.num_proposals - len(encoded)} of {encoded.num_proposals} proposals were not '
            f'encoded, because with objectness={encoded.left_out_under!r} they cannot become '
            f'detections; with {fusion!r} they can. Encode with all_regions=True.'
        )
    return cfg


def _check_widths(
    model: OpenVocabularyRCNN, encoded: EncodedImage, vocabulary: TextEmbeddings
) -> None:
    width = model.roi_head.bbox_head.active_classifier.embed_dim
    if encoded.embeddings.shape[1] != width:
        raise ValueError(
            f'the image was encoded with width {encoded.embeddings.shape[1]}, but this model has '
            f'{width}: encode it with the model that is asked.'
        )
    if vocabulary.embed_dim != width:
        raise ValueError(
            f'the vocabulary has embeddings of width {vocabulary.embed_dim}, but the model makes '
            f'region embeddings of width {width}; use a text encoder of the same CLIP model.'
        )


def _score(
    model: OpenVocabularyRCNN, encoded: EncodedImage, vocabulary: TextEmbeddings, cfg: ConfigDict
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Boxes ``(N, 4)`` and scores ``(N, K)``; probabilities only if they are to be reported.

    Regions are independent of each other until NMS, so they are scored a few at a time: of the
    copies that softmax and fusion make, each ``(N, K + 1)``, only the last is kept whole.
    """
    head = model.roi_head.bbox_head
    regions = at_least_float32(encoded.embeddings)
    text = vocabulary.matrix.to(regions.device)
    temperature = head.active_classifier.temperature
    rois = F.pad(encoded.input_boxes, (1, 0))
    deltas = head.fc_reg(regions) if head.with_reg else None
    wants_probs = cfg.get('report_scores', 'fused') == 'class'
    boxes = rois.new_empty(len(regions), 4, dtype=torch.float32)
    scores = regions.new_empty(len(regions), len(vocabulary), dtype=torch.float32)
    probs = torch.empty_like(scores) if wants_probs else None
    logits_of_objects = encoded.objectness_logits
    for rows in region_chunks(len(regions), len(vocabulary)):
        logits = region_logits(regions[rows], text, temperature)
        boxes[rows], scores[rows], part = head.score_regions(
            rois[rows],
            logits,
            None if deltas is None else deltas[rows],
            encoded.img_meta,
            cfg,
            None if logits_of_objects is None else logits_of_objects[rows],
        )
        if probs is not None:
            probs[rows] = part
    return boxes, scores, probs
