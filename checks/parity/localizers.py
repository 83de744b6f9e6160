# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Cases of the localizers: RPNs on R50-C4, R50-FPN and R50-FPN-LSJ."""

from __future__ import annotations

import torch
from mmdet.structures.bbox import get_box_tensor

from . import models
from .case import Case
from .comparison import Comparison
from .detections import compare_proposals

WHAT = 'localizer: head outputs, anchors, proposals and their objectness'
MARKS = ('anchors_res4_first12', 'anchors_p2_first12', 'logits_res4', 'logits_p2', 'objectness0')
NEEDED = ('proposals0', 'objectness0')
# Official settings by kind of localizer: anchors before NMS, NMS threshold, boxes after NMS.
OFFICIAL = {'c4': (6000, 0.7, 1000), 'fpn': (1000, 0.7, 1000), 'fpn_lsj': (1000, 0.7, 1000)}
# Larger maps were recorded at every fourth row and column.
STORED_WHOLE = 20000


@torch.no_grad()
def run(case: Case, comparison: Comparison) -> None:
    """Compare a batch's maps, anchors and proposals."""
    kind = models.localizer_kind(case)
    config = models.localizer_config(kind)
    pre, threshold, post = OFFICIAL[kind]
    cfg = config.test_cfg
    models.set_unless_official(cfg, 'nms_pre', case.note('pre_nms_topk'), pre)
    models.set_unless_official(cfg, 'max_per_img', case.note('post_nms_topk'), post)
    models.set_unless_official(cfg.nms, 'iou_threshold', case.note('nms_thresh'), threshold)
    models.set_unless_official(cfg, 'min_bbox_size', case.note('min_box_size'), 0.0)
    divisor = case.note('size_divisibility')
    models.set_unless_official(
        config, 'pad_size_divisor', max(divisor or 1, 1), 1 if kind == 'c4' else 32
    )
    localizer = models.build(config).eval()
    models.load_part(
        localizer, models.official_weights(case, 'localizer_shapes', kind), 'localizer'
    )
    localizer.to(case.device)
    images = [case[f'image{i}'] for i in case.numbered('image{}')]
    batch, samples = models.preprocess(models.data_preprocessor().to(case.device), images)
    metas = [sample.metainfo for sample in samples]

    x = localizer.convert_inputs(batch, [meta['img_shape'] for meta in metas])
    padded = case.note('padded_size')
    if padded is not None:
        comparison.add('padded_size', torch.tensor(x.shape[-2:]), 0, recorded=torch.tensor(padded))
    feats = localizer.backbone(x)
    feats = feats if localizer.neck is None else localizer.neck(feats)
    logits, deltas = localizer.rpn_head(feats)
    anchors = localizer.rpn_head.prior_generator.grid_priors(
        [m.shape[-2:] for m in logits], device=x.device
    )
    levels = ['res4'] if kind == 'c4' else [f'p{i + 2}' for i in range(len(logits))]
    for i, level in enumerate(levels):
        for name, maps in ((f'logits_{level}', logits[i]), (f'deltas_{level}', deltas[i])):
            limit = case.limit(f'{name.split("_")[0]}_max_abs', 1e-3)
            whole = maps.numel() <= STORED_WHOLE
            comparison.add(name, maps if whole else maps[:, :, ::4, ::4], limit)
        boxes = get_box_tensor(anchors[i])
        comparison.add(f'anchors_{level}_first12', boxes[:12], 1e-3)
        comparison.add(f'anchors_{level}_last3', boxes[-3:], 1e-3)
        if f'feat_{level}_first8ch' in case:
            # of the size of the logits, through convolutions of the same kind
            limit = case.limit('logits_max_abs', 1e-3)
            comparison.add(f'feat_{level}_first8ch', feats[i][:, :8], limit)
    limit = case.limit('objectness_max_abs', 1e-3)
    for i, found in enumerate(localizer(batch, metas)):
        names = (f'proposals{i}', f'objectness{i}')
        compare_proposals(comparison, found.bboxes, found.objectness_logits, names, limit)
