# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""tests/downstream_project, installed beside our wheel, is trained by every script."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import mmdet
import pytest
import torch

from examples.shapes_world.example import BASE_NAMES, NOVEL_NAMES
from helpers.installed_layouts import ROOT, clean_environment, make_environment
from helpers.quickstart_files import TEXT_ARCH, write_quickstart_files

PROJECT = ROOT / 'tests' / 'downstream_project'
PAGE = (ROOT / 'docs' / 'downstream.md').read_text()
STOCK_TRAIN = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'train.py'
OPTIONS = [
    '--cfg-options',
    'train_cfg.max_iters=3',
    'train_cfg.val_interval=3',
    'default_hooks.logger.interval=1',
]


@pytest.mark.parametrize(
    'name',
    [
        'signs/dataset.py',
        'configs/signs.py',
        'configs/signs_rn50.py',
        'configs/transfer_bridge.py',
        'pyproject.toml',
    ],
)
def test_page_shows_the_files(name: str) -> None:
    text = re.sub(r'^# Copyright.*\n', '', (PROJECT / name).read_text())
    assert text.strip() in PAGE


def test_the_config_is_short() -> None:
    assert len((PROJECT / 'configs' / 'signs.py').read_text().splitlines()) < 25


@dataclass
class Installed:
    """The project's folder, and the interpreter that has it and our wheel installed."""

    folder: Path
    python: Path

    def run(self, *words: object) -> str:
        done = subprocess.run(
            [str(self.python), *map(str, words)],
            cwd=self.folder,
            env=dict(clean_environment(), CUDA_VISIBLE_DEVICES=''),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout

    def tool(self, name: str) -> Path:
        """One of the wheel's tools."""
        (package,) = self.python.parents[1].glob('lib/python*/site-packages/regionclip_mmdet')
        return package / '.mim' / 'tools' / name


@pytest.fixture(scope='module')
def project(built_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp('project') / 'signs_project'
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns('__pycache__'))
    python = make_environment(folder.parent / 'venv', built_wheel, folder)
    project = Installed(folder, python)
    write_quickstart_files(folder / 'work_dirs' / 'quickstart')
    project.run(ROOT / 'tools' / 'data' / 'make_example_dataset.py', 'data/signs')
    for part, name in (('train', 'base'), ('val', 'all')):
        project.run(
            project.tool('embed_names.py'), f'data/signs/annotations/{part}.json',
            '--arch', TEXT_ARCH, '--weights', 'work_dirs/quickstart/clip/clip.pth',
            '--templates', 'single', '-o', f'data/signs/{name}_names.pth',
        )  # fmt: skip
    return project


@pytest.mark.slow
@pytest.mark.parametrize(
    ('way', 'config'),
    [('ours', 'signs'), ('stock', 'signs'), ('mim', 'signs'), ('ours', 'signs_new_style')],
)
def test_trains(project: Installed, way: str, config: str) -> None:
    if way == 'mim' and find_spec('mim') is None:
        pytest.skip('openmim is not installed')
    assert f'{config}.py' in PAGE  # what the page shows is what is trained
    work_dir = project.folder / f'{way}_{config}'
    words = {
        'ours': [project.tool('train.py')],
        'stock': [STOCK_TRAIN],
        'mim': ['-c', 'from mim.cli import cli; cli()', 'train', 'regionclip_mmdet'],
    }[way]
    gpus = ['--gpus', '0'] if way == 'mim' else []
    output = project.run(*words, f'configs/{config}.py', *gpus, '--work-dir', work_dir, *OPTIONS)
    losses = [float(v) for v in re.findall(r'Iter\(train\).*?\sloss: (\S+)', output)]
    assert len(losses) == 3 and all(map(math.isfinite, losses))
    for key in ('novel', 'base', 'all'):
        assert re.search(rf'coco/bbox_{key}_ap50: [01]\.\d+', output)

    checkpoint = torch.load(work_dir / 'iter_3.pth', map_location='cpu', weights_only=False)
    meta, state = checkpoint['meta'], checkpoint['state_dict']
    assert meta['iter'] == 3 and tuple(meta['dataset_meta']['classes']) == BASE_NAMES
    for head, names in (
        ('classifier', BASE_NAMES),
        ('test_classifier', (*BASE_NAMES, *NOVEL_NAMES)),
    ):
        prefix = f'roi_head.bbox_head.{head}'
        assert tuple(json.loads(bytes(state[f'{prefix}.names_utf8'].tolist()))) == names
        assert len(state[f'{prefix}.embeddings']) == len(names)
