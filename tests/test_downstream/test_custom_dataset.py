# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The commands of docs/custom_dataset.md, as they are on the page, with generated weights."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from examples.shapes_world.example import BASE_NAMES, NOVEL_NAMES
from helpers import page_runner
from helpers.installed_layouts import ROOT, clean_environment
from helpers.quickstart_files import TEXT_ARCH, write_quickstart_files
from regionclip_mmdet.models.text import TextEmbeddings

PAGE = (ROOT / 'docs' / 'custom_dataset.md').read_text()
KEYS = ('novel', 'base', 'all')


def commands() -> str:
    """The page's blocks that name the test, as one script."""
    blocks = [
        page_runner.block('docs/custom_dataset.md', 'make_example_dataset.py'),
        page_runner.block('docs/custom_dataset.md', 'embed_names.py'),
        page_runner.block('docs/custom_dataset.md', 'example_zero_shot.py work_dirs/quickstart'),
        page_runner.block('docs/custom_dataset.md', 'test.py configs/custom/example_localizer.py'),
        page_runner.block('docs/custom_dataset.md', 'train.py configs/custom/example_localizer.py'),
        page_runner.block('docs/custom_dataset.md', 'model.localizer.init_cfg.checkpoint=work'),
        page_runner.block('docs/custom_dataset.md', 'train.py configs/custom/example_transfer.py'),
    ]
    return '\n'.join(block.text for block in blocks)


def test_page_has_every_step() -> None:
    tools = re.findall(r'^python tools/(\S+?)\.py', commands(), re.MULTILINE)
    steps = ['embed_names'] * 2 + ['test'] * 2 + ['train', 'test', 'train'] + ['test'] * 2
    assert tools == ['data/make_example_dataset', *steps]
    assert TEXT_ARCH in PAGE


@pytest.mark.slow
def test_commands_of_the_page(tmp_path: Path) -> None:
    write_quickstart_files(tmp_path / 'work_dirs' / 'quickstart')
    for name in ('tools', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'python').write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / 'bin' / 'python').chmod(0o755)
    path = os.pathsep.join([str(tmp_path / 'bin'), os.environ['PATH']])
    done = subprocess.run(
        ['bash', '-e', '-c', commands()],
        cwd=tmp_path,
        env=dict(clean_environment(), PATH=path, PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES=''),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-5000:]

    losses = [float(v) for v in re.findall(r'Iter\(train\).*?\sloss: (\S+)', done.stdout)]
    assert len(losses) == 2 * 5 and all(map(math.isfinite, losses))
    # zero-shot with one localizer, with the other; the validation at the end of training, its
    # test; zero-shot again
    for key in KEYS:
        found = re.findall(rf'coco/bbox_{key}_ap50: (\S+)', done.stdout)
        assert len(found) == 5 and all(0 <= float(v) <= 1 for v in found)
        assert found[2] == found[3]
    given = r'Localizer: (\d+) of \1 tensors from work_dirs/example_localizer/iter_40.pth'
    assert re.search(given, done.stdout)
    assert len(re.findall(r'proposals/R50@10: ', done.stdout)) == 2

    localizer = torch.load(tmp_path / 'work_dirs/example_localizer/iter_40.pth', weights_only=False)
    assert localizer['meta']['iter'] == 40
    assert TextEmbeddings.load(tmp_path / 'data/example/base_names.pth').names == BASE_NAMES
    detector = torch.load(tmp_path / 'work_dirs/example_transfer/iter_40.pth', weights_only=False)
    heads = {
        k.split('.')[-2]: v
        for k, v in detector['state_dict'].items()
        if k.startswith('roi_head.bbox_head.') and k.endswith('embeddings')
    }
    assert {name: len(v) for name, v in heads.items()} == {
        'classifier': len(BASE_NAMES),
        'test_classifier': len(BASE_NAMES + NOVEL_NAMES),
    }
