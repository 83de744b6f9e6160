# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The contact sheet of random pairs."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import generated_shards as made
from regionclip_mmdet.datasets import ImageTextShards
from regionclip_mmdet.datasets.preparation import sheet_of_pairs

TILE = 256
TOOL = Path(__file__).parents[2] / 'tools' / 'data' / 'inspect_image_text.py'


def colors(sheet: Image.Image) -> set[int]:
    """Numbers of the images in it: those whose color fills at least half a tile."""
    values, counts = np.unique(np.asarray(sheet).reshape(-1, 3), axis=0, return_counts=True)
    whole = [value for value, count in zip(values.tolist(), counts) if count > TILE * TILE // 2]
    return {red + 256 * green for red, green, blue in whole if blue == 0}


def test_pairs_are_drawn_once_by_seed(tmp_path: Path) -> None:
    members = []
    for number in range(30):
        image, *rest = made.pair(number)
        large = Image.new('RGB', (400, 300), (number, 0, 0))
        large.save(tmp_path / 'image.png')
        members += [(image[0], (tmp_path / 'image.png').read_bytes()), *rest]
    made.write_tar(tmp_path / '0.tar', members)
    dataset = ImageTextShards('*.tar', data_root=str(tmp_path))
    sheet = sheet_of_pairs(dataset, 7, seed=3, columns=4)
    expected = np.random.default_rng(3).choice(30, 7, replace=False)
    assert colors(sheet) == set(expected.tolist())
    assert np.array_equal(sheet, sheet_of_pairs(dataset, 7, seed=3, columns=4))
    assert colors(sheet_of_pairs(dataset, 7, seed=4)) != colors(sheet)
    assert colors(sheet_of_pairs(dataset, 99)) == set(range(30))
    assert sheet.size[0] > 4 * TILE and 2 * TILE < sheet.size[1] < 3 * TILE


def test_damaged_images_have_their_place(tmp_path: Path) -> None:
    image, *rest = made.pair(7)
    made.write_tar(tmp_path / '0.tar', [(image[0], image[1][:40]), *rest])
    sheet = np.asarray(sheet_of_pairs(ImageTextShards('*.tar', data_root=str(tmp_path))))
    frame = (sheet == (190, 0, 0)).all(-1)
    assert frame.sum(0).max() == TILE and frame.sum(1).max() == TILE


def test_the_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made.write_shards(tmp_path, [5])
    arguments = ['inspect_image_text', f'{tmp_path}/*.tar', '--sample', '2', '--sheet']
    monkeypatch.setattr(sys, 'argv', [*arguments, f'{tmp_path}/new/sheet.jpg'])
    runpy.run_path(str(TOOL), run_name='__main__')
    with Image.open(tmp_path / 'new' / 'sheet.jpg') as sheet:
        assert sheet.size[0] > 5 * TILE
    monkeypatch.setattr(sys, 'argv', [*arguments, f'{tmp_path}/sheet'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOL), run_name='__main__')
    assert 'needs the suffix of an image' in capsys.readouterr().err
