# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Classifying the regions of an encoded image: the cheap half of detection."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.structures import InstanceData

from ..models.detectors import OpenVocabularyRCNN
from ..models.encoded_image import EncodedImage
from ..models.text import TextEmbeddings

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

    The model is only read, its own vocabulary stays: several threads may query at once.

    Args:
        model: the model that encoded the image.
        encoded: an image as ``encode_images`` returns it, on any device.
        vocabulary: ``K`` class names and embeddings of the model's dimension.
        masks: whether masks are wanted, too, if the model has a mask head. They cost a pass through
            layer4 for every detection.
        **overrides: settings in place of the model's ``test_cfg.rcnn``: ``score_thr``,
            ``max_per_img``, ``nms``, ``objectness``, ``report_scores``.

    Returns:
        In descending score order: ``bboxes (M, 4)`` x1 y1 x2 y2 in pixels of the original image,
        ``scores (M,)``, ``labels (M,)`` into the vocabulary's names, ``label_names``, these names,
        ``region_inds (M,)`` into the encoded image's regions; with a mask head ``masks (M, H, W)``,
        bool.

    Raises:
        TypeError: unknown overrides.
        ValueError: embeddings of another dimension; an objectness fusion that needs regions which
            were left out, or objectness that there is none of.
    """
    # it may have been kept on the CPU to save memory
    encoded = encoded.to(next(model.parameters()).device)
    unknown = sorted(set(overrides) - set(OVERRIDES))
    if unknown:
        raise TypeError(f'query_image knows no {", ".join(unknown)}; only {", ".join(OVERRIDES)}.')
    if overrides.get('nms', ...) is None:
        raise TypeError("nms is a dict such as dict(type='nms', iou_threshold=0.5), not None.")
    check_dimensions(model, vocabulary)
    dim = model.roi_head.bbox_head.active_classifier.embed_dim
    if encoded.require_embeddings().shape[1] != dim:
        raise ValueError(
            f'the region embeddings of the image are not {dim}-dimensional, as those of this model '
            'are: encode the image with the model that is queried.'
        )
    return model.detect(encoded, vocabulary, masks and encoded.feature_map is not None, **overrides)


def check_dimensions(model: OpenVocabularyRCNN, vocabulary: TextEmbeddings) -> None:
    """Refuse a vocabulary of another CLIP model.

    Raises:
        ValueError: its embeddings have another dimension than the model's.
    """
    dim = model.roi_head.bbox_head.active_classifier.embed_dim
    if vocabulary.embed_dim != dim:
        raise ValueError(
            f'the vocabulary has {vocabulary.embed_dim}-dimensional embeddings, but the region '
            f'embeddings of the model are {dim}-dimensional: use a text encoder of the same CLIP '
            'model (RN50: 1024, RN50x4: 640).'
        )
