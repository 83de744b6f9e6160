# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""docs/data.md: its examples run, its keys and files are real."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from helpers import tiny_recipes
from regionclip_mmdet.config_paths import config_folder

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'data.md').read_text()
EXAMPLES = re.findall(r'```python\n(.*?)```', PAGE, flags=re.S)


@pytest.fixture()
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    init_default_scope('mmdet')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    return tmp_path


def documented(metric: str) -> set[str]:
    """Endings of keys in the table's row: 'ap50' of 'bbox_novel_ap50' and so on."""
    row = next(line for line in PAGE.splitlines() if line.startswith(f'| `{metric}` |'))
    return set(re.findall(r'`([^`]+)`', row.split('|')[2]))


def run(example: str, folder: Path, base: str) -> dict[str, float]:
    """Evaluate a config that consists of an example, made small."""
    text = re.sub('^_base_ = .*$', '', example, flags=re.M)
    path = folder / 'mine.py'
    path.write_text(f'_base_ = {str(Path(config_folder()) / base)!r}\n{text}')
    cfg = tiny_recipes.load(str(path))
    tiny_recipes.make_files(cfg)
    return Runner.from_cfg(cfg).test()


def test_naming_annotated_boxes(data: Path) -> None:
    tiny_recipes.make_coco()
    example = next(e for e in EXAMPLES if 'RegionClassificationMetric' in e)
    base = re.search("_base_ = 'configs/(.*)'", example)[1]
    metrics = run(example, data, base)
    items = {key.removeprefix('regions/') for key in documented('RegionClassificationMetric')}
    assert {'top1', 'top5', 'ap', 'base_', 'novel_', 'rare_'} <= items
    keys = {f'regions/{g}{i}' for g in ('', 'base_', 'novel_') for i in ('top1', 'top5', 'ap')}
    assert set(metrics) == keys
    assert all(0 <= value <= 1 for value in metrics.values())


def test_lvis_with_fixed_ap_and_minival(data: Path) -> None:
    tiny_recipes.make_lvis()
    example = next(e for e in EXAMPLES if 'max_per_class' in e)
    listed = Path(re.search("image_ids='(.*?)'", example)[1])
    listed.write_text(json.dumps([201])[1:-1])
    metrics = run(example, data, 'zero_shot/regionclip_rn50_gt_zero-shot_lvis.py')
    items = {k.removeprefix('lvis/bbox_') for k in documented('OVLVISMetric')} - {'segm_...'}
    assert set(metrics) == {
        f'{prefix}/bbox_{item}'
        for prefix in ('lvis', 'lvis_fixed', 'lvis_minival')
        for item in items
    }
    assert metrics['lvis_minival/bbox_APr'] == -1 != metrics['lvis/bbox_APr']


def test_files_and_configs_exist(data: Path) -> None:
    tiny_recipes.make_coco()
    tiny_recipes.make_lvis()
    rows = [line for line in PAGE.splitlines() if re.match(r'\| `(ov_)?(coco|lvis|inst)', line)]
    made = {path.name for path in data.rglob('*') if path.is_file()}
    for row in rows:
        files, *_, configs = row.strip('|').split('|')
        for name in re.findall(r'`([^`]+)`', files):
            for part in re.search(r'\{(.*?)\}|$', name)[1].split(',') if '{' in name else ['']:
                found = re.sub(r'\{.*?\}', part, name)
                assert found in made or found == 'ov_lvis_minival.json', found
        for name in re.findall(r'`([^`]+)`', configs):
            assert (ROOT / 'configs' / '_base_' / 'datasets' / name).is_file(), name
    assert len(rows) >= 9
