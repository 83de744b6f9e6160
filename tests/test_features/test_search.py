# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The regions most like a name, and their visualization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import features_world as world
from regionclip_mmdet import features
from regionclip_mmdet.features import hit_sheet, search
from regionclip_mmdet.models.text import TextEmbeddings


@pytest.fixture(scope='module')
def folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('features') / 'out'
    made_by = world.maker(vocabulary=world.vocabulary())
    images = features.list_images(photos)
    inputs = world.inputs_of(made_by)
    features.extract_region_features(
        made_by, images, inputs, str(out), images_per_file=2, progress=False
    )
    return out


def cosines(found: features.RegionFeatures, names: TextEmbeddings) -> np.ndarray:
    """``(N, K)``."""
    text = names.matrix.numpy()
    raw = found.raw
    lengths = np.linalg.norm(raw, axis=1)[:, None] * np.linalg.norm(text, axis=1)
    return raw @ text.T / lengths


@pytest.mark.parametrize('at_a_time', [1 << 22, 12])
def test_in_descending_cosine_order(
    folder: Path, at_a_time: int, monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    monkeypatch.setattr(search, 'COSINES_AT_A_TIME', at_a_time)  # 12: two regions
    names = world.vocabulary(4)
    whole = features.read_region_features(folder)
    wanted = cosines(whole, names)
    found = features.search_folder(folder, names, top=7)
    assert [hits[0].name for hits in found] == list(names.names)
    for column, hits in enumerate(found):
        best = np.argsort(-wanted[:, column], kind='stable')[:7]
        assert [hit.region for hit in hits] == best.tolist()
        assert [hit.rank for hit in hits] == list(range(1, 8))
        np.testing.assert_allclose([hit.cosine for hit in hits], wanted[best, column], atol=1e-3)
        for hit in hits:
            number = whole.image_inds[hit.region]
            assert hit.path == world.NAMES[number] and hit.image_id == number
            assert Path(hit.full_path) == photos / hit.path
            assert hit.box == tuple(whole.boxes[hit.region].tolist())
    in_memory = features.search_regions(whole, names, top=7)
    assert [[h.region for h in hits] for hits in in_memory] == [
        [h.region for h in hits] for hits in found
    ]


def test_one_region_of_an_image(folder: Path) -> None:
    names = world.vocabulary(3)
    whole = features.read_region_features(folder)
    wanted = cosines(whole, names)
    found = features.search_folder(folder, names, top=4, one_per_image=True)
    for column, hits in enumerate(found):
        best = [wanted[whole.of_image(i), column].max() for i in range(len(world.NAMES))]
        order = np.argsort(best)[::-1][:4]
        assert [hit.path for hit in hits] == [world.NAMES[i] for i in order]
        np.testing.assert_allclose([h.cosine for h in hits], np.array(best)[order], atol=1e-3)


def test_names_of_another_model_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match='16-dimensional, those of the regions 32-dimensional'):
        features.search_folder(folder, TextEmbeddings(('a',), np.ones((1, 16))))


def test_names_given_before_need_no_model(folder: Path) -> None:
    stored = features.stored_vocabulary(folder, ['name 3', 'name 1'])
    wanted = world.vocabulary().select(['name 3', 'name 1'])
    assert stored.names == wanted.names and (stored.matrix == wanted.matrix).all()
    assert features.stored_vocabulary(folder, ['name 3', 'another']) is None


def make_hit(path: Path, box: tuple, **changes: Any) -> features.Hit:
    settings = dict(
        name='red', rank=1, cosine=0.25, path=path.name, full_path=str(path), image_id=0, region=0
    )
    return features.Hit(box=box, **{**settings, **changes})


class TestVisualization:
    def test_the_middle_of_a_tile_is_the_box(self, tmp_path: Path) -> None:
        """A red patch at the image's corner: its tile shows it in the middle, gray outside."""
        pixels = np.full((60, 90, 3), (0, 0, 255), dtype=np.uint8)
        pixels[:20, :20] = (255, 0, 0)
        Image.fromarray(pixels).save(tmp_path / 'a.png')
        sheet = features.draw_hits([[make_hit(tmp_path / 'a.png', (0, 0, 20, 20))]])
        drawn = np.asarray(sheet)
        top = drawn.shape[0] - len(
            hit_sheet._tile(make_hit(tmp_path / 'a.png', (0, 0, 20, 20)), (0,) * 3)
        )
        tile = drawn[top - 8 :][: hit_sheet.TILE, 8 : 8 + hit_sheet.TILE].astype(int)
        middle = tile[60:84, 60:84].reshape(-1, 3)
        assert (abs(middle - [255, 0, 0]).max(axis=1) < 30).all()
        assert (tile[70, 4] == 235).all() and (tile[4, 70] == 235).all()
        assert abs(tile[70, 138] - [0, 0, 255]).max() < 30
        # the patch ends where the box does, a few pixels of line and blur between
        side = 20 * (1 + 2 * hit_sheet._MARGIN)
        first, last = (round(hit_sheet.TILE * (0.5 + s * 10 / side)) for s in (-1, 1))
        near, far = first + 4, first - 4
        for inside, outside in (((70, near), (70, far)), ((near, 70), (far, 70))):
            assert abs(tile[inside] - [255, 0, 0]).max() < 60
            assert (tile[outside] == 235).all()
        assert abs(tile[70, last - 4] - [255, 0, 0]).max() < 60
        assert abs(tile[70, last + 4] - [0, 0, 255]).max() < 60

    def test_layout(self, tmp_path: Path) -> None:
        """Five regions in rows of two; one of the images is gone."""
        Image.new('RGB', (40, 40), 'green').save(tmp_path / 'a.png')
        hits = [make_hit(tmp_path / 'a.png', (1, 1, 30, 30), rank=i) for i in range(1, 5)]
        hits.append(make_hit(tmp_path / 'gone.png', (1, 1, 30, 30), rank=5))
        sheet = features.draw_hits([hits, [], hits[:1]], columns=2)
        tile, gap = hit_sheet.TILE, 8
        assert sheet.width == 2 * (tile + gap) + gap
        one = features.draw_hits([hits[:1]], columns=2)
        assert sheet.height > 4 * tile and one.width == tile + 2 * gap

    def test_nothing_to_draw(self) -> None:
        with pytest.raises(ValueError, match='no region to draw'):
            features.draw_hits([[], []])


def test_table(folder: Path) -> None:
    found = features.search_folder(folder, world.vocabulary(2), top=3)
    header, *lines = features.as_table(found).splitlines()
    assert header.split() == ['name', 'rank', 'cosine', 'image,', 'box', '(x1', 'y1', 'x2', 'y2)']
    assert len(lines) == 6
    hit = found[1][2]
    box = ' '.join(f'{value:.0f}' for value in hit.box)
    assert lines[5] == f'{"name 1":<24} {3:>4} {hit.cosine:>7.3f}  {hit.path}, {box}'
