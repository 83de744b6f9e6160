# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Naming the regions of an encoded image: the cheap half of detection."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.structures import InstanceData

from ..models.detectors import OpenVocabularyRCNN
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
    unknown = sorted(set(overrides) - set(OVERRIDES))
    if unknown:
        raise TypeError(f'query_image knows no {", ".join(unknown)}; only {", ".join(OVERRIDES)}.')
    if overrides.get('nms', ...) is None:
        raise TypeError("nms is a dict such as dict(type='nms', iou_threshold=0.5), not None.")
    _check_widths(model, encoded, vocabulary)
    return model.detect(encoded, vocabulary, masks and encoded.feature_map is not None, **overrides)


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
