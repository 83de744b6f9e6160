# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A shipped detector of full size with generated weights, to compare and time without downloads."""

from __future__ import annotations

import torch
from mmengine.config import Config
from torch import nn

from checks.parity import models, official_shapes
from checks.parity.generated_weights import fill_tensors
from regionclip_mmdet.models.text import TextEmbeddings

NAMES = ('person', 'helmet', 'cup', 'cat', 'rocket')


def generated_detector(cfg: Config, seed: int = 0) -> nn.Module:
    """A detector whose weights are drawn at random, by the rules of the golden cases.

    These rules keep all layers alive and regions apart, which the layers' own initialization does
    not. The names' embeddings are random directions; what is detected means nothing.

    Args:
        cfg: A config with CLIP's RN50 or RN50x4 and one of the shipped localizers, or none.
        seed: Of weights and embeddings.

    Returns:
        The model in evaluation mode, with ``cfg`` as ``init_detector`` leaves it.
    """
    config = cfg.model
    head = config.roi_head.bbox_head
    head.vocabulary = head.test_vocabulary = None
    config.train_cfg = None
    arch, localizer = config.backbone.arch, config.get('localizer')
    kind = None if localizer is None else models.kind_of_localizer(localizer)
    model = models.build(config)
    shapes = official_shapes.detector_shapes(arch, kind, 'mask_head' in config.roi_head)
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(len(NAMES), head.embed_dim, generator=generator)
    models.load_detector(model, fill_tensors(shapes, seed))
    model.roi_head.bbox_head.eval().set_vocabulary(
        TextEmbeddings(NAMES, matrix, dict(source='generated'))
    )
    model.cfg = cfg
    return model.eval()
