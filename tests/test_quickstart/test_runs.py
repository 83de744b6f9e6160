# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Lengths and folders of quickstart runs."""

from pathlib import Path

import pytest
from mmengine.config import Config

from examples.quickstart.runs import (
    build_runner,
    load_config,
    read_curves,
    relocated,
    set_iterations,
)
from regionclip_mmdet import config_path


def _config() -> Config:
    warm_up = dict(type='LinearLR', begin=0, end=40)
    cosine = dict(type='CosineAnnealingLR', begin=40, end=400, T_max=360)
    return Config(dict(train_cfg=dict(max_iters=400), param_scheduler=[warm_up, cosine]))


@pytest.mark.parametrize('iterations', [1, 2, 40, 400, 4000])
def test_schedules_follow_the_length(iterations: int) -> None:
    cfg = _config()
    set_iterations(cfg, iterations)
    warm_up, cosine = cfg.param_scheduler
    assert cfg.train_cfg.max_iters == iterations
    assert warm_up.end > warm_up.begin == 0
    assert cosine.end > cosine.begin
    assert cosine.T_max == cosine.end - cosine.begin
    if iterations >= 40:
        assert (warm_up.end, cosine.end) == (iterations // 10, iterations)


@pytest.mark.parametrize('name', ['clip', 'localizer', 'pretrain', 'transfer'])
def test_cosine_of_the_configs_ends_with_the_run(name: str) -> None:
    cfg = load_config(config_path(f'quickstart/{name}.py'))
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.end == cosine.begin
    assert cosine.end == cfg.train_cfg.max_iters == cosine.begin + cosine.T_max


def test_options_and_length() -> None:
    cfg = load_config(config_path('quickstart/pretrain.py'), {'model.num_regions': 3}, 7)
    assert (cfg.model.num_regions, cfg.train_cfg.max_iters) == (3, 7)


def test_relocated_moves_whole_folders_only() -> None:
    cfg = Config(
        dict(a='data/x/y.json', b=['data/x'], c=('data/xy', 1), d=dict(e='see data/x/y'), f=None)
    )
    moved = relocated(cfg, {'data/x': '/m'})
    assert moved.to_dict() == dict(
        a='/m/y.json', b=['/m'], c=('data/xy', 1), d=dict(e='see data/x/y'), f=None
    )
    assert cfg.a == 'data/x/y.json'


def test_no_quickstart_path_is_left_behind() -> None:
    for name in ('clip', 'localizer', 'pretrain', 'zero_shot_gt', 'zero_shot_rpn', 'transfer'):
        cfg = load_config(config_path(f'quickstart/{name}.py'))
        moved = relocated(cfg, {'work_dirs/quickstart': '/w', 'data/shapes_world': '/d'})
        # what remains are the config's own notes of the places, which nothing reads
        text = moved.pretty_text
        assert 'data/shapes_world/scenes' not in text and 'data/shapes_world/object' not in text
        assert 'work_dirs/quickstart' not in text


def test_read_curves(tmp_path) -> None:
    folder = tmp_path / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(
        '{"loss": 2.0, "step": 10}\n{"loss": 1.0, "step": 20}\n{"coco/x": 1.0, "step": 20}\n'
    )
    assert read_curves(tmp_path, dict(loss='Loss', other='Other')) == {
        'Loss': ([10, 20], [2.0, 1.0])
    }
    assert read_curves(tmp_path / 'nowhere', dict(loss='Loss')) == {}


def test_runs_of_one_process_keep_their_logs_apart(tmp_path: Path) -> None:
    for step, name in enumerate(('first', 'second'), 1):
        cfg = load_config(config_path('quickstart/clip.py'))
        runner = build_runner(cfg, tmp_path / name, 0, name)
        runner.visualizer.add_scalars(dict(loss=0.5 * step), step=step)
    assert read_curves(tmp_path / 'first', dict(loss='Loss')) == {'Loss': ([1], [0.5])}
    assert read_curves(tmp_path / 'second', dict(loss='Loss')) == {'Loss': ([2], [1.0])}
