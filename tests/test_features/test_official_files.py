# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files in the official tool's format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import features_world as world
from helpers.features_world import extract, made
from regionclip_mmdet.features import (
    read_region_features,
)


def test_of_proposals(photos: Path, tmp_path: Path) -> None:
    made_by, found = made(photos, tmp_path / 'ours', dtype='float32')
    report = extract(made_by, photos, tmp_path / 'out', file_format='official')
    assert report.regions == 50
    for number, name in enumerate(world.NAMES):
        content = torch.load(tmp_path / 'out' / Path(name).with_suffix('.pth').name)
        assert sorted(content) == ['boxes', 'feats']
        rows = found.of_image(number)
        np.testing.assert_array_equal(content['boxes'].numpy(), found.boxes[rows])
        assert content['feats'].dtype == torch.float32
        np.testing.assert_allclose(content['feats'].numpy(), found.raw[rows], rtol=1e-5)
    with pytest.raises(ValueError, match=r"features.json says .*'official'"):
        read_region_features(tmp_path / 'out')


def test_of_detections(photos: Path, tmp_path: Path) -> None:
    settings = dict(source='detections', vocabulary=world.vocabulary(), dtype='float32')
    _, found = made(photos, tmp_path / 'ours', **settings)
    made_by = world.maker(**settings, keep_probs=True)
    extract(made_by, photos, tmp_path / 'out', file_format='official')
    content = torch.load(tmp_path / 'out' / '03.pth')
    rows = found.of_image(3)
    assert sorted(content) == ['boxes', 'classes', 'feats', 'probs']
    assert content['classes'].dtype == torch.int64
    np.testing.assert_array_equal(content['classes'].numpy(), found.labels[rows])
    assert content['probs'].shape == (rows.stop - rows.start, 7)  # background last
    np.testing.assert_allclose(content['probs'].sum(1), 1, rtol=1e-5)
    # no objectness is fused here, so a detection's score is the probability of its class
    picked = content['probs'][torch.arange(len(content['probs'])), content['classes']]
    np.testing.assert_allclose(picked.numpy(), found.scores[rows], rtol=1e-5)


def test_again(own_photos: Path, tmp_path: Path) -> None:
    made_by, out = world.maker(), tmp_path / 'out'
    (own_photos / '01.png').write_bytes(b'no image')
    assert len(extract(made_by, own_photos, out, file_format='official').broken) == 1
    (out / '03.pth').unlink()
    again = extract(made_by, own_photos, out, file_format='official')
    assert again.computed == 2 and [path for path, _ in again.broken] == ['01.png']
    other = world.maker(max_regions=2)
    with pytest.raises(ValueError, match='max_regions differ'):
        extract(other, own_photos, out, file_format='official')
    extract(other, own_photos, out, file_format='official', overwrite=True)
    assert all(len(torch.load(path)['boxes']) == 2 for path in out.glob('*.pth'))


def test_two_images_for_one_file(own_photos: Path, tmp_path: Path) -> None:
    (own_photos / '00.second.png').write_bytes((own_photos / '00.png').read_bytes())
    with pytest.raises(ValueError, match=r'00.png and 00.second.png would have the same file'):
        extract(world.maker(), own_photos, tmp_path / 'out', file_format='official')


def test_an_image_called_names(own_photos: Path, tmp_path: Path) -> None:
    """Its file would be that of the names' embeddings."""
    (own_photos / '00.png').rename(own_photos / 'names.png')
    named = world.maker(vocabulary=world.vocabulary())
    with pytest.raises(ValueError, match=r'embeddings of the names and names.png would have'):
        extract(named, own_photos, tmp_path / 'out', file_format='official')
    extract(world.maker(), own_photos, tmp_path / 'out', file_format='official')
    assert len(torch.load(tmp_path / 'out' / 'names.pth')['boxes']) == 10
    again = extract(world.maker(), own_photos, tmp_path / 'out', file_format='official')
    assert again.computed == 0
    assert len(torch.load(tmp_path / 'out' / 'names.pth')['boxes']) == 10


def test_files_that_do_not_tell_how_they_were_made(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    out.mkdir()
    (out / '01.pth').write_bytes(b'of another tool')
    with pytest.raises(ValueError, match=r'has a file 01.pth, but does not say how'):
        extract(world.maker(), photos, out, file_format='official')
    assert [path.name for path in out.iterdir()] == ['01.pth']
    extract(world.maker(), photos, out, file_format='official', overwrite=True)
    assert len(torch.load(out / '01.pth')['boxes']) == 10


def test_files_of_other_images_are_not_mixed(own_photos: Path, tmp_path: Path) -> None:
    out, other = tmp_path / 'out', world.maker(max_regions=2)
    extract(world.maker(), own_photos, out, file_format='official')
    (own_photos / '00.png').unlink()
    before = world.contents(out)
    with pytest.raises(ValueError, match=r'1 files, 00.pth for example, of images that are not'):
        extract(other, own_photos, out, file_format='official', overwrite=True)
    assert world.contents(out) == before
    (out / '00.pth').unlink()
    extract(other, own_photos, out, file_format='official', overwrite=True)
    assert all(len(torch.load(path)['boxes']) == 2 for path in out.glob('*.pth'))
