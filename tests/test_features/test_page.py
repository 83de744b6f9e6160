# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Commands and examples of docs/features.md, on generated files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers import features_world as world
from helpers import page_runner, tiny_inference
from regionclip_mmdet.features import read_region_features

PAGE = 'docs/features.md'


@pytest.fixture
def folder(
    files: tiny_inference.DetectorFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """With the files that the demo leaves."""
    monkeypatch.chdir(tmp_path)
    quickstart = tmp_path / 'work_dirs' / 'quickstart'
    (quickstart / 'detector').mkdir(parents=True)
    shutil.copy(files.config, quickstart / 'detector' / 'detector.py')
    shutil.copy(files.checkpoint, quickstart / 'detector' / 'detector.pth')
    world.write_images(quickstart / 'world' / 'scenes_val' / 'images')
    return tmp_path


def test_extract_and_search(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workers = dict(extract_region_features=['--workers', 0])
    page_runner.run('docs/features.md', '--max-regions 8', workers)
    found = read_region_features('work_dirs/features')
    assert len(found.image_paths) == 5 and 0 < len(found) <= 40
    capsys.readouterr()
    page_runner.run('docs/features.md', '--one-per-image')
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith('green star ') for line in lines) == 5  # images
    assert Image.open('docs/images/features_search.jpg').height > 3 * 144


def test_python_of_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_inference.save_image(folder / 'photo.jpg')
    values: dict[str, Any] = {}
    exec(page_runner.block(PAGE, 'encode_regions(').text, values)
    assert values['found'].raw.shape == values['found'].normalized.shape == (2, 32)
    page_runner.run(
        'docs/features.md', '--max-regions 8', dict(extract_region_features=['--workers', 0])
    )
    capsys.readouterr()
    exec(page_runner.block(PAGE, 'read_region_features(').text, values)
    assert len(values['features']) == len(values['part']) > 0
    assert capsys.readouterr().out == f'{len(values["part"])} 00.png\n'
