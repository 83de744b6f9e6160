# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The tools, from the command line to files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import features_world as world
from helpers import tiny_inference
from regionclip_mmdet.features import read_region_features

EXTRACT = world.TOOL
SEARCH = world.ROOT / 'tools' / 'search_regions.py'


def test_extract_and_search(
    files: tiny_inference.DetectorFiles,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The example of the page: features without names, then words for them."""
    out = tmp_path / 'features'
    model = files.config, files.checkpoint
    world.run(EXTRACT, *model, photos, '--out', out, '--max-regions', '4', '--workers', '1')
    assert f'{out}: 20 regions; 5 images' in capsys.readouterr().out
    assert read_region_features(out).manifest.settings['max_regions'] == 4
    texts = '--texts', 'a cat . a red ball', '--top', '3'
    visualization = tmp_path / 'visualizations' / 'found.png'
    world.run(SEARCH, out, *texts, '--model', *model, '--out', visualization)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith('a cat')] == [['a', 'cat']] * 3
    assert sum(line.startswith('a red ball') for line in lines) == 3
    assert Image.open(visualization).width > 300
    with pytest.raises(SystemExit, match='they must be embedded: add --model CONFIG CHECKPOINT'):
        world.run(SEARCH, out, *texts)


def test_detections_of_words_and_of_the_model(
    files: tiny_inference.DetectorFiles,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = photos / '00.png', '--boxes', 'detections', '--workers', '0', '--top', '1'
    model = files.config, files.checkpoint
    own, words, official = (tmp_path / name for name in ('own', 'words', 'official'))
    world.run(EXTRACT, *model, *common, '--out', own)
    assert read_region_features(own).manifest.names == ['cat', 'dog', 'red ball']
    texts = '--texts', 'tree . river'
    world.run(EXTRACT, *model, *common, '--out', words, *texts, '--nms', 'class-agnostic')
    found = read_region_features(words)
    assert found.manifest.names == found.manifest.label_names == ['tree', 'river']
    world.run(EXTRACT, *model, *common, '--out', official, *texts, '--format', 'official')
    assert torch.load(official / '00.pth')['probs'].shape[1] == 3
    capsys.readouterr()
    world.run(SEARCH, words, '--texts', 'river')  # embedded before
    assert 'river' in capsys.readouterr().out


def test_boxes_of_a_file(files: tiny_inference.DetectorFiles, photos: Path, tmp_path: Path) -> None:
    path = world.write_json(tmp_path / 'boxes.json', world.annotations())
    world.run(
        EXTRACT, files.config, files.checkpoint, path, '--image-root', photos, '--boxes', path,
        '--out', tmp_path / 'out', '--workers', '0', '--dtype', 'float32',
    )  # fmt: skip
    found = read_region_features(tmp_path / 'out')
    assert found.box_ids.tolist() == [7, 3, 5] and found.embeddings.dtype == np.float32


def test_errors_are_messages(
    files: tiny_inference.DetectorFiles, photos: Path, tmp_path: Path
) -> None:
    common = files.config, files.checkpoint, photos, '--out', tmp_path / 'out', '--workers', '0'
    with pytest.raises(SystemExit, match='not complete: --boxes is localizer, detections, grid'):
        world.run(EXTRACT, *common, '--boxes', 'rpn')
    with pytest.raises(SystemExit, match='Class-wise NMS is that of detections'):
        world.run(EXTRACT, *common, '--nms', 'class-wise')
    with pytest.raises(SystemExit, match='is no folder of region features'):
        world.run(SEARCH, tmp_path, '--texts', 'a', '--model', files.config, files.checkpoint)


def test_the_output_file_needs_an_ending(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        world.run(SEARCH, tmp_path, '--texts', 'a', '--out', tmp_path / 'found')
    assert 'must end in .jpg or .png' in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_make_the_files_of_one(
    files: tiny_inference.DetectorFiles, photos: Path, tmp_path: Path
) -> None:
    """Byte for byte, from nothing and after a loss."""
    arguments = files.config, files.checkpoint, photos, '--texts', 'a cat . a dog', '--workers', '0'
    arguments += '--images-per-file', '2', '--device', 'cpu'
    one, two = tmp_path / 'one', tmp_path / 'two'
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # torchrun's default; other numbers of threads round otherwise
    world.run(EXTRACT, *arguments, '--out', one)
    torch.set_num_threads(threads)
    output = world.run_processes(2, *arguments, '--out', two)
    assert f'{two}: 50 regions; 5 images, 5 of them computed now' in output
    assert world.contents(two) == world.contents(one)
    for number in (0, 2):
        (two / f'regions-0000{number}.npz').unlink()
    assert '3 of them computed now' in world.run_processes(2, *arguments, '--out', two)
    assert world.contents(two) == world.contents(one)
