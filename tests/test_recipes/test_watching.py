# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What one watches a pretraining by, from its config to the files it leaves behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from helpers import tiny_recipes
from regionclip_mmdet.config_paths import config_folder, shipped_configs

NAMING = Path(config_folder()) / '_base_' / 'datasets' / 'coco65_region_naming.py'
# The naming config's own example, for pretraining on captions, and short.
MINE = """
train_cfg = dict(val_interval=20)
val_cfg = dict(max_images=2)
default_hooks = dict(logger=dict(interval=1))
visualizer = dict(name={name!r}, vis_backends={backends})
experiment_name = {name!r}
"""
LOCAL = [dict(type='LocalVisBackend')]
BOTH = [*LOCAL, dict(type='TensorboardVisBackend')]
TRAINING = {
    'regions_kept',
    'teacher_agreement',
    'teacher_score',
    'images_skipped',
    'images_per_second',
    'data_wait',
}
NAMED = {f'regions/{g}{i}' for g in ('', 'base_', 'novel_') for i in ('top1', 'top5', 'ap')}
VISUALIZATIONS = {f'pseudo_labels_{i}_1.png' for i in (0, 1)}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    tiny_recipes.make_coco()
    return tmp_path


def load(folder: Path, backends: list[dict] = LOCAL) -> Config:
    """A pretraining with the naming config beside it, four iterations long."""
    example = re.search(r'    _base_ = .*?\]\n', NAMING.read_text(), flags=re.S)[0]
    example = example.replace('600k_cc3m', '23k_coco-captions').replace(
        "'../", f"'{config_folder()}/"
    )
    example = '\n'.join(line.strip() for line in example.splitlines())
    path = folder / 'mine.py'
    path.write_text(example + MINE.format(backends=backends, name=folder.name))
    return tiny_recipes.load(str(path), iterations=4)


def test_scalars_log_and_visualizations(data: Path) -> None:
    cfg = load(data)
    tiny_recipes.make_files(cfg)
    Runner.from_cfg(cfg).train()
    (folder,) = data.glob('run/*/vis_data')
    lines = [json.loads(line) for line in (folder / 'scalars.json').read_text().splitlines()]
    steps = {key: [line['step'] for line in lines if key in line] for key in TRAINING | NAMED}
    # the first iteration of a run is not timed; skipped images are counted after the last one
    late = {'images_per_second': [2, 3, 4], 'data_wait': [2, 3, 4], 'images_skipped': [4]}
    assert steps == {key: late.get(key, [1, 2, 3, 4]) for key in TRAINING} | {k: [4] for k in NAMED}
    assert {path.name for path in (folder / 'vis_image').iterdir()} == VISUALIZATIONS
    (log,) = data.glob('run/*/*.log')
    text = log.read_text()
    last = next(line for line in text.splitlines() if 'Iter(train) [4/4]' in line)
    assert all(f'{key}: ' in last for key in TRAINING)
    assert re.search(r'Iter\(val\) \[2/2\] .*regions/top1: \d', text)


def test_shares_are_means_over_the_window(data: Path) -> None:
    cfg = load(data)
    cfg.log_processor.window_size = 4
    tiny_recipes.make_files(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    (path,) = data.glob('run/*/vis_data/scalars.json')
    last = [json.loads(line) for line in path.read_text().splitlines() if 'loss"' in line][-1]
    for key in ('regions_kept', 'teacher_agreement', 'teacher_score'):
        values = runner.message_hub.get_scalar(f'train/{key}').data[0]
        assert len(values) == 4
        assert last[key] == pytest.approx(values.mean(), rel=1e-6)


def test_tensorboard_has_them(data: Path) -> None:
    events = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    cfg = load(data, BOTH)
    tiny_recipes.make_files(cfg)
    Runner.from_cfg(cfg).train()
    (folder,) = data.glob('run/*/vis_data')
    found = events.EventAccumulator(str(folder)).Reload().Tags()
    assert set(found['scalars']) > TRAINING | NAMED
    assert set(found['images']) == {'pseudo_labels_0', 'pseudo_labels_1'}


def test_missing_files_are_named_before_the_start(data: Path) -> None:
    tiny_recipes.make_files(load(data))
    names = Path('data/vocabularies/ov_coco_65_rn50.pth')
    boxes = Path('data/coco/annotations/ov_coco_val_all.json')
    for path, command in (
        (names, f'python tools/embed_names.py ov_coco_65 --arch RN50 -o {names}'),
        (boxes, 'python tools/data/prepare_ov_coco.py data/coco'),
    ):
        path.rename('aside')
        with pytest.raises(FileNotFoundError, match=re.escape(command)):
            Runner.from_cfg(load(data)).train()
        assert not list(data.glob('run/*.pth'))
        Path('aside').rename(path)
        assert command in NAMING.read_text()


def test_the_pages_words(data: Path) -> None:
    """docs/running.md: the scalars of its table are those that are written; its config runs."""
    page = (Path(__file__).parents[2] / 'docs' / 'running.md').read_text()
    section = page.partition('## Watching a pretraining')[2].partition('\n## ')[0]
    assert set(re.findall(r'^\| `(\w+)` \|', section, flags=re.M)) == TRAINING
    examples = re.findall(r'```python\n(.*?)```', section, flags=re.S)
    text = examples[0].replace("'configs/", f"'{config_folder()}/")
    (data / 'mine.py').write_text(text + examples[1])
    cfg = Config.fromfile(data / 'mine.py')
    assert (cfg.train_cfg.val_interval, cfg.train_cfg.max_iters) == (10000, 600000)
    assert cfg.val_cfg.type == 'RegionClassificationLoop'
    assert [backend.type for backend in cfg.visualizer.vis_backends] == [b['type'] for b in BOTH]


@pytest.mark.parametrize('path', shipped_configs('pretrain'))
def test_every_pretraining_is_watched(path: Path) -> None:
    hooks = {hook['type'] for hook in Config.fromfile(path).default_hooks.values()}
    assert hooks >= {'ThroughputHook', 'BrokenImagesHook', 'PseudoLabelVisualizationHook'}
