# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmdet's own calls and visualizations with the shipped configs: labels number the names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.registry import MODELS, VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from helpers import tiny_models, tiny_recipes
from helpers.drawn_names import drawn_names
from regionclip_mmdet import config_path
from regionclip_mmdet.datasets.shapes_world import BASE_CLASSES, CLASSES
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.recipes.name_lists import LISTS

# config and the names it is tested on
FAMILIES = {
    'zero_shot/regionclip_rn50_rpn_zero-shot_coco65.py': LISTS['ov_coco_65'],
    'ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py': LISTS['ov_coco_65'],
    'ov_lvis/regionclip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis.py': LISTS['lvis_1203'],
    'quickstart/zero_shot_rpn.py': CLASSES,
    'quickstart/transfer.py': CLASSES,
}
# what a checkpoint says of the data it was trained on; none of it is asked for here
TRAINED_ON = dict(classes=tuple(f'trained {i}' for i in range(48)), palette=[(1, 2, 3)] * 48)


def small(name: str) -> tuple[Config, str]:
    """A shipped config with a small model, and a checkpoint of it."""
    if name.startswith('quickstart'):  # is small
        cfg = Config.fromfile(config_path(name))
        for part, names in (('base_vocabulary', BASE_CLASSES), ('all_vocabulary', CLASSES)):
            matrix = torch.randn(len(names), 128, generator=torch.Generator().manual_seed(1))
            TextEmbeddings.from_tensor(matrix, names).save(cfg[part])
    else:
        cfg = tiny_recipes.load(name)
        cfg.test_dataloader = cfg.get('test_dataloader') or cfg.val_dataloader
        tiny_recipes.make_files(cfg)
    cfg.load_from = None
    # weights made up find nothing with certainty: many names, each a little
    cfg.model.test_cfg.rcnn.update(max_per_img=20, score_thr=0.0, objectness='none')
    cfg.model.roi_head.bbox_head.temperature = 1.0
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = tiny_models.fill(MODELS.build(cfg.model), seed=1)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=TRAINED_ON)), 'tiny.pth')
    return cfg, 'tiny.pth'


def check(sample: DetDataSample, names: Sequence[str]) -> list[str]:
    """Names of a prediction, which must be those that its labels number."""
    found = sample.pred_instances
    assert len(found) > 3
    assert found.label_names == [names[label] for label in found.labels.tolist()]
    return found.label_names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save('photo.png')
    return tmp_path


def drawn_by(visualizer: Any, sample: DetDataSample) -> set[str]:
    with drawn_names() as names:
        visualizer.add_datasample(
            'x', np.zeros((60, 80, 3), np.uint8), sample, draw_gt=False, pred_score_thr=0.0
        )
    return set(names)


@pytest.mark.parametrize('config', list(FAMILIES))
def test_names_of_shipped_configs(config: str, folder: Path) -> None:
    names = tuple(FAMILIES[config])
    cfg, checkpoint = small(config)
    model = init_detector(cfg.copy(), checkpoint, device='cpu', cfg_options={})
    assert model.dataset_meta['classes'] == names
    sample = inference_detector(model, 'photo.png')
    right = set(check(sample, names))

    stock = DetLocalVisualizer(name=f'stock {config}')
    stock.dataset_meta = model.dataset_meta
    assert drawn_by(stock, sample) == right
    own = VISUALIZERS.build(
        dict(cfg.visualizer, name=f'own {config}', topk=99, max_detections=None, vis_backends=None)
    )
    own.dataset_meta = TRAINED_ON  # what a prediction carries comes first
    shown = drawn_by(own, sample)
    assert shown <= right and len(shown) >= len(right) // 2

    # after it, mmdet's inferencer: what it says and draws; its image demo is this call
    cfg.visualizer.update(name=f'inferencer {config}', topk=99, max_detections=None)
    inferencer = DetInferencer(cfg, checkpoint, device='cpu')
    inferencer.show_progress = False
    assert inferencer.model.dataset_meta['classes'] == names
    assert inferencer.visualizer.dataset_meta['classes'] == names
    with drawn_names() as drawn:
        result = inferencer('photo.png', return_datasamples=True, out_dir='out', pred_score_thr=0.0)
    (again,) = result['predictions']
    assert check(again, names) == sample.pred_instances.label_names
    assert set(drawn) == shown and Path('out/vis/photo.png').is_file()

    # the visualizer of an inferencer follows a change of names
    others = tuple(f'other {i}' for i in range(7))
    width = inferencer.model.roi_head.region_encoder.embed_dim
    inferencer.model.set_vocabulary(tiny_models.vocabulary(others, dim=width))
    assert inferencer.visualizer.dataset_meta['classes'] == others
    (sample,) = inferencer('photo.png', return_datasamples=True)['predictions']
    check(sample, others)
