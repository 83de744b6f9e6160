# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Detections as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results

from .. import fileio

# Too much for a text file; arrays in memory.
ARRAYS = ('region_embeddings',)


def as_dict(sample: DetDataSample) -> dict[str, Any]:
    """A prediction in mmdet's format, with names.

    Args:
        sample: prediction with ``pred_instances`` and, in its metas, ``names`` and ``img_path``.

    Returns:
        In descending score order, ``M`` entries each: ``labels`` (into ``names``), ``label_names``,
        ``scores``, ``bboxes`` (x1 y1 x2 y2 in pixels of the image), ``region_inds``, and where
        there are any ``masks`` (COCO's run lengths) and ``region_embeddings`` (float32 array
        ``(M, D)``). Besides ``names``, the vocabulary, and ``img_path``, None for arrays.
    """
    found = sample.pred_instances.cpu()
    result: dict[str, Any] = dict(
        labels=found.labels.tolist(),
        label_names=list(found.label_names),
        scores=found.scores.tolist(),
        bboxes=found.bboxes.tolist(),
        region_inds=found.region_inds.tolist(),
        names=list(sample.names),
        img_path=sample.get('img_path'),
    )
    if 'masks' in found:
        masks = encode_mask_results(found.masks)
        result['masks'] = [dict(mask, counts=_text(mask['counts'])) for mask in masks]
    for key in ARRAYS:
        if key in found:
            result[key] = found[key].numpy()
    return result


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write a prediction, whole or not at all; without arrays."""
    fileio.write_json(path, {k: value for k, value in result.items() if k not in ARRAYS})


def _text(counts: bytes | str) -> str:
    return counts.decode() if isinstance(counts, bytes) else counts
