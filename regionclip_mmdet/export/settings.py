# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What lies outside the graphs and must be known to use them: preparing images, selecting boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..models.backbones import CLIPResNet
from ..models.post_processing.detections import is_plain_nms
from ..models.region_encoders import RegionEncoder
from .graphs import Detector

# Transforms of a test pipeline that leave the pixels as they are.
HARMLESS = ('LoadImage', 'LoadAnnotations', 'LoadProposals', 'LoadRegionProposals', 'Pack')
SOFT_NMS_SETTINGS = {'type', 'method', 'sigma', 'iou_threshold', 'min_score', 'class_offset'}
FREE_SIZE = "Export with a test pipeline that has mmdet's Resize or ResizeShortestEdge only."


def export_settings(model: Detector, test_pipeline: Sequence[Mapping] | None) -> dict[str, Any]:
    """Settings for ``detector.json``, see ``OnnxDetector``.

    Args:
        model: An ``OpenVocabularyRCNN``.
        test_pipeline: Configs of the transforms; None: images are taken as they are.

    Raises:
        ValueError: The model or the pipeline does something that the runtime cannot repeat.
    """
    encoder = model.roi_head.region_encoder
    if not (isinstance(model.backbone, CLIPResNet) and isinstance(encoder, RegionEncoder)):
        raise ValueError(
            f'{type(model.backbone).__name__} and {type(encoder).__name__} cannot be exported: the '
            'graphs are those of CLIPResNet and RegionEncoder.'
        )
    if any(parameter.dtype != torch.float32 for parameter in model.parameters()):
        raise ValueError(
            'The graphs are made of float32 weights, but some of this model have another type, as '
            'after half(). Load the checkpoint into a model as it is built.'
        )
    preprocessor = model.data_preprocessor
    if getattr(preprocessor, 'pad_size_divisor', 1) != 1:
        raise ValueError(
            f'data_preprocessor.pad_size_divisor is {preprocessor.pad_size_divisor}: the exported '
            'graphs take images without padding. Set it to 1; a localizer pads for itself.'
        )
    if not getattr(preprocessor, '_channel_conversion', False):
        raise ValueError(
            'The data preprocessor does not turn BGR into RGB (bgr_to_rgb=True), but the exported '
            'graphs take RGB, which CLIP was trained on.'
        )
    return dict(
        test_cfg=_selection(model.test_cfg['rcnn']),
        resize=None if test_pipeline is None else _resize(test_pipeline),
    )


def _selection(cfg: Mapping) -> dict[str, Any]:
    nms = dict(cfg['nms'])
    soft = nms['type'] == 'global_soft_nms' and set(nms) <= SOFT_NMS_SETTINGS
    if not is_plain_nms(nms) and not soft:
        raise ValueError(
            f'test_cfg.rcnn.nms={nms} cannot be exported. Known are '
            "dict(type='nms', iou_threshold=...) and dict(type='global_soft_nms', ...)."
        )
    return dict(
        score_thr=float(cfg['score_thr']),
        nms=nms,
        max_per_img=int(cfg['max_per_img']),
        objectness=cfg.get('objectness', 'none'),
        report_scores=cfg.get('report_scores', 'fused'),
    )


def _resize(pipeline: Sequence[Mapping]) -> dict[str, Any] | None:
    found = None
    for transform in flatten(pipeline):
        name = transform['type'].split('.')[-1]
        if name.startswith(HARMLESS):
            continue
        if found is not None or name not in ('Resize', 'ResizeShortestEdge'):
            raise ValueError(
                f'The test pipeline has {name}, which OnnxDetector does not make again. {FREE_SIZE}'
            )
        found = _resize_once(name, transform)
    return found


def flatten(pipeline: Sequence[Mapping]) -> list[Mapping]:
    """Transforms one by one, those wrapped into another (``MoveProposals``) included."""
    found: list[Mapping] = []
    for transform in pipeline:
        inner = transform.get('transforms')
        found += [transform] if inner is None else flatten(inner)
    return found


def _resize_once(name: str, transform: Mapping) -> dict[str, Any]:
    settings = {key: value for key, value in transform.items() if key != 'type'}
    backend = settings.pop('backend', 'cv2')
    interpolation = settings.pop('interpolation', 'bilinear')
    keep_ratio = settings.pop('keep_ratio', False)
    settings.pop('clip_object_border', None)
    scale, longest = settings.pop('scale', None), settings.pop('max_size', None)
    if name == 'ResizeShortestEdge':
        short = scale if isinstance(scale, int) or scale is None else min(scale)
        how = dict(kind='edges', rounded='sides', short=short, long=longest, backend=backend)
        known = not keep_ratio and settings.pop('resize_type', 'Resize') == 'Resize'
    elif keep_ratio:
        known = scale is not None and not isinstance(scale, (int, float))
        scale = scale if known else (0, 0)
        how = dict(
            kind='edges', rounded='scale', short=min(scale), long=max(scale), backend=backend
        )
    else:
        known = scale is not None and not isinstance(scale, (int, float))
        width, height = scale if known else (0, 0)
        how = dict(kind='exact', width=width, height=height, backend=backend)
    if not known or settings or scale is None or interpolation != 'bilinear':
        raise ValueError(
            f'The settings {dict(transform)} of the test pipeline cannot be exported: a fixed '
            'scale, bilinear interpolation and the backends cv2 and pillow are known.'
        )
    if backend not in ('cv2', 'pillow'):
        raise ValueError(f'Unknown backend {backend!r} of {name}: cv2 and pillow are known.')
    return how
