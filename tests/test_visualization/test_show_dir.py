# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""``tools/test.py --show-dir`` with the runtime's visualizer: boxes where the detections are."""

from __future__ import annotations

import json
import pickle
import runpy
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from helpers import tiny_models
from helpers import watched_pretraining as watched
from regionclip_mmdet import config_path
from regionclip_mmdet.datasets.shapes_world import CLASSES
from regionclip_mmdet.models.localizers import CLIP_MEAN
from regionclip_mmdet.visualization import name_color

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'test.py'


def write_config(folder: Path) -> tuple[Path, Path]:
    """A detector with a localizer of its own, and its checkpoint."""
    watched.make_files(folder)
    model = tiny_models.detector_config(
        localizer=tiny_models.localizer(mean=list(CLIP_MEAN)),
        bbox_head=dict(vocabulary=str(folder / 'names.pth')),
        data_preprocessor=watched.PREPROCESSOR,
        rcnn=dict(max_per_img=1),
    )
    dataset = watched.annotated(folder)
    dataset['pipeline'] = [
        watched.LOAD[0],
        dict(type='Resize', scale=(256, 256), keep_ratio=True),
        watched.LOAD[1],  # after it: annotations stay in the image's pixels
        dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
        ),
    ]
    config = folder / 'tiny_test.py'
    Config(
        dict(
            model=model,
            test_dataloader=watched.loader(dataset),
            test_cfg=dict(type='TestLoop'),
            test_evaluator=dict(
                type='CocoMetric', ann_file=str(folder / 'world' / 'instances.json')
            ),
            work_dir=str(folder / 'work'),
        )
    ).dump(config)
    text = config.read_text()
    config.write_text(f'_base_ = [{config_path("_base_/default_runtime.py")!r}]\n{text}')
    checkpoint = folder / 'tiny.pth'
    with DefaultScope.overwrite_default_scope('mmdet'):
        built = tiny_models.fill(MODELS.build(model))
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(meta=meta, state_dict=built.state_dict()), checkpoint)
    return config, checkpoint


def run_tool(*arguments: str) -> None:
    tool = runpy.run_path(str(TOOL))
    with (
        mock.patch.object(sys, 'argv', ['test.py', *arguments]),
        mock.patch.dict('os.environ', LOCAL_RANK='0'),
        mock.patch.object(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict()))),
    ):
        tool['main']()


def share_drawn(panel: np.ndarray, box: list[float], name: str) -> float:
    """How much of a box's lower and right edge has the color of the name.

    JPEG blurs it; labels, which stand above their boxes where there is room, cover parts.
    """
    x1, y1, x2, y2 = (round(v) for v in box)
    # the middle of a line of three pixels
    edge = [(y2 - 2, x) for x in range(x1, x2)] + [(y, x2 - 2) for y in range(y1, y2)]
    rows, columns = np.array(edge).T
    off = np.abs(panel[rows, columns].astype(int) - np.array(name_color(name)))
    return float((off.max(-1) < 70).mean())


def test_show_dir(tmp_path: Path) -> None:
    config, checkpoint = write_config(tmp_path)
    run_tool(
        str(config), str(checkpoint), '--show-dir', 'drawn', '--out', str(tmp_path / 'out.pkl'),
        '--cfg-options', 'default_hooks.visualization.score_thr=0.0', 'visualizer.line_width=3',
        'visualizer.min_side=None', 'visualizer.font_size=8', 'visualizer.draw_proposals=10',
        'model.test_cfg.keep_proposals=True',
        # mmengine's hooks take the visualizer made last: not one of an earlier test by its name
        f'visualizer.name={tmp_path.name}',
    )  # fmt: skip
    results = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    (folder,) = (tmp_path / 'work').glob('*/drawn')
    images = sorted(folder.iterdir())
    assert len(images) == len(results) == watched.NUM_IMAGES
    world = json.loads((tmp_path / 'world' / 'instances.json').read_text())
    categories = {category['id']: category['name'] for category in world['categories']}
    shares: dict[str, list[float]] = dict(truth=[], found=[], bare=[])
    for result in results:
        scene = np.asarray(Image.open(result['img_path']))
        height, width = scene.shape[:2]
        drawn = np.asarray(Image.open(folder / Path(result['img_path']).name))
        assert drawn.shape == (height, 3 * width + 2 * 2, 3)
        truth, found, proposed = (
            drawn[:, i * (width + 2) : i * (width + 2) + width] for i in range(3)
        )
        box = result['pred_instances']['bboxes'][0].tolist()
        name = CLASSES[int(result['pred_instances']['labels'][0])]
        shares['found'].append(share_drawn(found, box, name))
        shares['bare'].append(share_drawn(scene, box, name))
        for annotation in world['annotations']:
            if annotation['image_id'] == result['img_id']:
                x, y, w, h = annotation['bbox']
                name = categories[annotation['category_id']]
                shares['truth'].append(share_drawn(truth, [x, y, x + w, y + h], name))
        assert (np.abs(proposed.astype(int) - scene).max(-1) > 60).sum() > 100
    means = {key: np.mean(values) for key, values in shares.items()}
    assert means['found'] > 0.8 and means['truth'] > 0.7 and means['bare'] < 0.1, shares


@pytest.mark.parametrize('config', ['_base_/default_runtime.py', 'quickstart/tiny_base.py'])
def test_runtimes_have_the_visualizer(config: str) -> None:
    cfg = Config.fromfile(config_path(config))
    assert cfg.visualizer.type == 'OpenVocabVisualizer' and cfg.visualizer.min_side == 400
