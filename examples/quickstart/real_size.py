# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Last stage: a photograph through the full-size RN50 detector, with generated weights.

No claim about content: it proves that the real path runs (checkpoint file, ``init_detector``,
800 pixels, 1000 proposals) and shows where its time goes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image
from torch import nn

from benchmarks import part_times
from regionclip_mmdet.compat.checkpoints import save_whole

from .console import captured
from .drawing import NEUTRAL_COLOR, draw_boxes
from .runs import LOG_FILE
from .stages import stage_config
from .workspace import Job

# Part -> path of the module whose forward pass it is.
TIMED_PARTS = {
    'localizer (R50-C4 RPN)': 'localizer',
    'backbone (stem to layer3)': 'backbone',
    'RoIAlign': 'roi_head.region_encoder.roi_align',
    'layer4 on regions': 'roi_head.region_encoder.layer4',
    'attention pool': 'roi_head.region_encoder.attnpool',
    'text classifier and box regressor': 'roi_head.bbox_head',
}
NUM_DRAWN = 12
MIN_DRAWN_SIDE = 40


def real_size(job: Job) -> dict[str, Any]:
    """Stage 8: detect on a photograph; times, boxes, an image."""
    sizes = job.stage.settings['real_size']
    cfg = stage_config(job, 'real_size_rn50')
    cfg.model.localizer.test_cfg.max_per_img = sizes['num_proposals']
    resize = next(t for t in cfg.test_pipeline if t['type'] == 'Resize')
    resize['scale'] = (sizes['long_edge'], sizes['short_edge'])
    cfg.test_dataloader.dataset.pipeline = cfg.test_pipeline
    photo = save_photograph(job.folder)
    with captured(job.folder / LOG_FILE):
        job.progress('generating weights')
        checkpoint = write_generated_weights(cfg, job.folder)
        model = init_detector(cfg, str(checkpoint), device='cpu', palette='random')
        job.progress('detecting (first of two passes, to warm up)')
        inference_detector(model, str(photo))
        with part_times(model, TIMED_PARTS) as seconds:
            start = time.perf_counter()
            result = inference_detector(model, str(photo))
            total = time.perf_counter() - start
    # Some 150 MB that say nothing.
    checkpoint.unlink()
    seconds['image loading, NMS, the rest'] = total - sum(seconds.values())
    draw_detections(photo, result.pred_instances, cfg.names, job.folder / 'detections.jpg')
    return dict(
        seconds={part: round(s, 2) for part, s in seconds.items()},
        total=round(total, 2),
        input_size=list(result.img_shape),
        proposals=sizes['num_proposals'],
        detections=len(result.pred_instances),
        threads=torch.get_num_threads(),
    )


def save_photograph(folder: Path) -> Path:
    """Write the photograph that scikit-image carries (Eileen Collins; NASA, public domain)."""
    from skimage import data

    path = folder / 'photograph.png'
    Image.fromarray(data.astronaut()).save(path)
    return path


def write_generated_weights(cfg: Config, folder: Path) -> Path:
    """A checkpoint with every tensor of the detector, drawn at random, and its vocabulary.

    Args:
        cfg: Config of the detector, with ``text_encoder`` and ``names``.
        folder: Where both files go.
    """
    torch.manual_seed(0)
    encoder = MODELS.build(cfg.text_encoder)
    encoder.init_weights()
    encoder.encode_names(cfg.names, 'single').save(cfg.vocabulary)
    model = MODELS.build(cfg.model)
    # The RPN's own start puts out no box differences: everything would be an anchor.
    nn.init.normal_(model.localizer.rpn_head.rpn_reg.weight, std=0.01)
    path = folder / 'generated.pth'
    meta = dict(dataset_meta=dict(classes=tuple(cfg.names)))
    save_whole(dict(meta=meta, state_dict=model.state_dict()), path)
    return path


def draw_detections(photo: Path, detections: Any, names: list[str], path: Path) -> None:
    """The best boxes on the photograph; slivers, which random weights like, are left out."""
    sides = detections.bboxes[:, 2:] - detections.bboxes[:, :2]
    best = detections[sides.amin(dim=1) >= MIN_DRAWN_SIDE][:NUM_DRAWN]
    image = draw_boxes(
        Image.open(photo),
        best.bboxes.tolist(),
        [f'{names[i]} {s:.2f}' for i, s in zip(best.labels.tolist(), best.scores.tolist())],
        [NEUTRAL_COLOR] * len(best),
        scale=1.5,
    )
    image.save(path, quality=88)
