# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Recorded masks of detections, pasted into the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.structures import InstanceData
from torch import Tensor

from regionclip_mmdet.models.roi_heads import OpenVocabRoIHead

from .case import CaseError
from .comparison import Comparison

# Pixels whose probability lies on the threshold may fall either way: so many of a mask.
FREE_PIXELS = 2
FREE_SHARE = 1e-4


def compare_pasted_masks(
    comparison: Comparison,
    head: OpenVocabRoIHead,
    feats: Sequence[Tensor],
    metas: Sequence[dict],
) -> None:
    """Compare the masks of the first recorded soft-NMS detections of every image.

    Args:
        comparison: Takes the differences: pixels of each mask that differ.
        head: In eval mode.
        feats: ``(C4 map,)`` of the batch.
        metas: Of its images; masks were recorded in the network input's frame.
    """
    case, packed = comparison.case, {}
    detections = []
    for i in range(len(metas)):
        try:
            packed[i] = case.array(f'det_masks_packed{i}')
            boxes, labels = (case[f'det_softnms_img{i}_{name}'] for name in ('boxes', 'classes'))
        except CaseError as error:
            comparison.fail(f'det_masks_packed{i}', str(error))
            return
        count = len(packed[i])
        detections.append(InstanceData(bboxes=boxes[:count], labels=labels[:count]))
    results = head.predict_mask(feats, list(metas), detections)
    for i, result in enumerate(results):
        height, width = metas[i]['img_shape'][:2]
        name, masks = f'det_masks_packed{i}', result.masks.cpu().numpy()
        if packed[i].shape[1:] != (height, -(-width // 8)):
            comparison.fail(name, f'shape {list(packed[i].shape)} is not that of packed masks')
            continue
        recorded = np.unpackbits(packed[i], axis=2, count=width).astype(bool)
        wrong = (masks != recorded).sum((1, 2))
        limit = max(FREE_PIXELS, int(FREE_SHARE * height * width))
        none = np.zeros(len(wrong))
        comparison.add(name, wrong, limit, recorded=none, scale=height * width)
