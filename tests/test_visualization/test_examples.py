# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""docs/visualization.md: its images, its Python, its config."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from examples import docs_images
from regionclip_mmdet import config_path
from regionclip_mmdet.visualization import draw_detections, name_color

DOCS = Path(__file__).parents[2] / 'docs'
pytest.importorskip('skimage')


def blocks() -> list[str]:
    page = (DOCS / 'visualization.md').read_text(encoding='utf-8')
    return re.findall(r'```python\n(.*?)```', page, flags=re.S)


def test_images_of_the_page(tmp_path: Path) -> None:
    page = (DOCS / 'visualization.md').read_text(encoding='utf-8')
    linked = re.findall(r'\]\(images/(visualization_\w+\.jpg)\)', page)
    paths = docs_images.write_images(tmp_path)
    assert sorted(path.name for path in paths) == sorted(linked)
    for path in paths:
        kept = DOCS / 'images' / path.name
        assert path.stat().st_size < 150_000 and kept.stat().st_size < 150_000
        # other fonts (the Chinese name) and libraries may move pixels, not the image
        new, old = (np.asarray(Image.open(p)).astype(int) for p in (path, kept))
        assert new.shape == old.shape
        assert (np.abs(new - old).max(-1) > 60).mean() < 0.02


def test_the_scene_is_annotated_where_its_objects_are() -> None:
    scene = docs_images.Scene()
    assert len(scene.names) == len(scene.boxes) and all(n in scene.caption for n in scene.names)
    drawn = draw_detections(scene.image, scene.boxes, [''] * len(scene.boxes), line_width=1)
    x1, y1, x2, y2 = scene.boxes[0].int().tolist()
    assert tuple(drawn[(y1 + y2) // 2, x1]) == name_color('')


def test_python_of_the_page() -> None:
    code = [block for block in blocks() if 'vis_backends' not in block]
    assert len(code) == 4
    space: dict = {}
    for block in code:
        exec(block, space)
        drawn = space.pop('drawn')
        assert drawn.shape[1:] == (512, 3) and drawn.dtype == np.uint8
        assert (drawn[:512] != space['image']).any(-1).sum() > 1000


def test_config_of_the_page(tmp_path: Path) -> None:
    (block,) = [block for block in blocks() if 'vis_backends' in block]
    base = config_path('_base_/default_runtime.py')
    (tmp_path / 'mine.py').write_text(f'_base_ = [{base!r}]\n{block}')
    cfg = Config.fromfile(tmp_path / 'mine.py')
    assert cfg.visualizer.type == 'OpenVocabVisualizer' and cfg.visualizer.topk == 3
    assert [backend.type for backend in cfg.visualizer.vis_backends] == [
        'LocalVisBackend', 'TensorboardVisBackend', 'WandbVisBackend'
    ]  # fmt: skip
    assert cfg.default_hooks.visualization.draw is True
    assert cfg.default_hooks.visualization.type == 'DetVisualizationHook'


def test_the_pages_options_are_the_configs() -> None:
    page = (DOCS / 'visualization.md').read_text(encoding='utf-8')
    table = dict(re.findall(r'^\| `(\w+)=([\w.]+)` \| `visualizer`', page, flags=re.M))
    cfg = Config.fromfile(config_path('_base_/default_runtime.py')).visualizer
    for key in ('topk', 'unique_boxes', 'draw_proposals', 'min_side'):
        assert table[key] == str(cfg[key])
