# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What the teacher calls the regions of a few scenes, and how often it is right.

The world knows the truth, so the pseudo labels can be judged here. Training never sees it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner, load_checkpoint

from regionclip_mmdet.fileio import read_json, write_json

from .statistics import box_iou_xywh

NUM_SCENES = 64


@torch.no_grad()
def predict_pseudo_labels(
    cfg: Config,
    checkpoint: Path,
    annotation_file: Path,
    out_file: Path,
    num_scenes: int = NUM_SCENES,
) -> dict[str, float]:
    """Label regions of the first scenes and write them to a file.

    Args:
        cfg: Config of a ``RegionCLIP`` with a ``pseudo_label_dataloader`` of captioned scenes.
        checkpoint: The student's weights.
        annotation_file: COCO-format truth, for the quality only.
        out_file: JSON list of ``file_name``, ``caption`` and ``regions`` (``bbox`` as x1, y1, x2,
            y2 in the image file's pixels, ``name``, ``score``, ``truth`` or null).
        num_scenes: How many scenes.

    Returns:
        Percentages: ``on_objects`` of the kept regions, ``right`` of those on objects.
    """
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    load_checkpoint(model, str(checkpoint), map_location='cpu')
    model.eval()
    names = model.roi_head.region_text_head.concept_names
    loader = Runner.build_dataloader(cfg.pseudo_label_dataloader)
    scenes: list[dict[str, Any]] = []
    num_batches = -(-num_scenes // cfg.pseudo_label_dataloader.batch_size)
    for batch in itertools.islice(loader, num_batches):
        for sample in model.test_step(batch):
            found = sample.pred_instances
            factor = found.bboxes.new_tensor(sample.scale_factor).repeat(2)
            regions = [
                dict(bbox=[round(v, 2) for v in box], name=names[label], score=round(score, 4))
                for box, label, score in zip(
                    (found.bboxes / factor).tolist(), found.labels.tolist(), found.scores.tolist()
                )
            ]
            scenes.append(
                dict(img_id=sample.img_id, caption=sample.text, regions=regions)
                | dict(file_name=Path(sample.img_path).name)
            )
    quality = judge(scenes, read_json(annotation_file))
    write_json(out_file, scenes, indent=1)
    return quality


def judge(scenes: list[dict[str, Any]], truth: Mapping[str, Any]) -> dict[str, float]:
    """Add the true name (``truth``) to every region and count.

    Args:
        scenes: As ``predict_pseudo_labels`` writes them; changed in place.
        truth: COCO-format annotations.
    """
    names = {category['id']: category['name'] for category in truth['categories']}
    objects: dict[int, list[dict]] = {image['id']: [] for image in truth['images']}
    for annotation in truth['annotations']:
        objects[annotation['image_id']].append(annotation)
    on_object, right, total = 0, 0, 0
    for scene in scenes:
        here = objects[scene['img_id']]
        boxes = np.array([a['bbox'] for a in here], dtype=float).reshape(-1, 4)
        for region in scene['regions']:
            x1, y1, x2, y2 = region['bbox']
            overlap = box_iou_xywh(np.array([[x1, y1, x2 - x1, y2 - y1]]), boxes)[0]
            hit = len(overlap) > 0 and overlap.max() >= 0.5
            region['truth'] = names[here[int(overlap.argmax())]['category_id']] if hit else None
            total += 1
            on_object += int(hit)
            right += region['truth'] == region['name']
    return dict(
        regions=float(total),
        on_objects=100 * on_object / max(total, 1),
        right=100 * right / max(on_object, 1),
    )
