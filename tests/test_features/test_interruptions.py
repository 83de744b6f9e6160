# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""No run loses or changes what another one has made; broken images are named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import features_world as world
from helpers import tiny_inference
from helpers.features_world import extract
from regionclip_mmdet import features
from regionclip_mmdet.features import (
    read_region_features,
)


class TestAgain:
    """A second run does what is missing, and nothing else."""

    def test_a_missing_file_is_made_again_and_is_the_same(
        self, photos: Path, tmp_path: Path
    ) -> None:
        made_by, out = world.maker(), tmp_path / 'out'
        first = extract(made_by, photos, out, images_per_file=2)
        before = world.contents(out)
        names = [f'regions-0000{i}.npz' for i in range(3)]
        assert sorted(before) == ['broken.tsv', 'features.json', *names]
        assert (first.computed, first.regions) == (5, 50)
        (out / names[1]).unlink()
        (out / names[2]).write_bytes(before[names[2]][:1000])  # cut off
        with pytest.raises(ValueError, match='1 of 3 files are missing'):
            read_region_features(out)
        second = extract(made_by, photos, out, images_per_file=2)
        assert (second.computed, second.regions) == (3, 50)
        assert world.contents(out) == before
        assert extract(made_by, photos, out, images_per_file=2).computed == 0

    def test_damaged_files_are_named(self, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / 'out'
        extract(world.maker(), photos, out)
        path = out / 'regions-00000.npz'
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ValueError, match=r'regions-00000.npz is damaged.*run tools/extract'):
            read_region_features(out)
        described = (out / 'features.json').read_text()
        for old, new, message in (
            ('"parts"', '"other"', 'features.json does not describe region features: parts, other'),
            ('"images"', '"images', 'features.json is no valid JSON'),
            ('"version":', '"version":"1","x":', 'features.json has version 1, this'),
            ('{', '[' * 100_000 + '{', 'features.json is no valid JSON: it is nested too deeply'),
        ):
            (out / 'features.json').write_text(described.replace(old, new, 1))
            with pytest.raises(ValueError, match=message):
                read_region_features(out)

    def test_a_flipped_bit_is_never_read(self, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / 'out'
        extract(world.maker(), photos, out)
        path, expected = out / 'regions-00000.npz', read_region_features(out)
        whole = path.read_bytes()
        noticed = 0
        for place in range(0, len(whole), 211):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
            try:
                found = read_region_features(out)
            except ValueError as error:
                assert str(path) in str(error)
                noticed += 1
                continue
            assert np.array_equal(found.embeddings, expected.embeddings)
            assert np.array_equal(found.boxes, expected.boxes)
        assert noticed > 20

    def test_an_interrupted_run_loses_one_file_at_most(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made_by, out = world.maker(), tmp_path / 'out'
        make, calls = made_by.make, []

        def until_the_fourth(*args: Any) -> Any:
            calls.append(args)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return make(*args)

        monkeypatch.setattr(made_by, 'make', until_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            extract(made_by, photos, out, images_per_file=2)
        assert sorted(path.name for path in out.glob('*.npz*')) == ['regions-00000.npz']
        monkeypatch.undo()
        assert extract(made_by, photos, out, images_per_file=2).computed == 3
        extract(made_by, photos, tmp_path / 'straight', images_per_file=2)
        assert world.contents(out) == world.contents(tmp_path / 'straight')

    def test_other_settings_are_refused_or_replace(self, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / 'out'
        extract(world.maker(), photos, out)
        before = world.contents(out)
        other = world.maker(max_regions=3)
        with pytest.raises(ValueError, match='other settings: max_regions differ'):
            extract(other, photos, out)
        assert world.contents(out) == before
        assert extract(other, photos, out, overwrite=True).computed == 5
        assert len(read_region_features(out)) == 15

    def test_other_weights_are_other_settings(self, photos: Path, tmp_path: Path) -> None:
        made_by = world.maker()
        extract(made_by, photos, tmp_path / 'out')
        made_by.model.backbone.conv1.weight.data[0, 0, 0, 0] += 1
        with pytest.raises(ValueError, match='weights_sha256 differ'):
            extract(made_by, photos, tmp_path / 'out')

    def test_another_model_config_is_another_setting(self, photos: Path, tmp_path: Path) -> None:
        """What no weight tells: a temperature, the means that are subtracted, sampling points."""
        made_by = world.maker(vocabulary=world.vocabulary())
        extract(made_by, photos, tmp_path / 'out')
        config = made_by.model.cfg.model
        config.test_cfg.rcnn.score_thr = 0.7  # of detections, which these are not
        config.init_cfg = dict(type='Pretrained', checkpoint='elsewhere.pth')
        assert extract(made_by, photos, tmp_path / 'out').computed == 0
        config.roi_head.bbox_head.temperature = 0.5
        with pytest.raises(ValueError, match='other settings: model_cfg differ'):
            extract(made_by, photos, tmp_path / 'out')

    def test_names_of_an_earlier_run_do_not_stay(self, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / 'out'
        extract(world.maker(vocabulary=world.vocabulary()), photos, out)
        assert features.stored_vocabulary(out, ['name 1']) is not None
        without_names = world.maker()
        without_names.model.backbone.conv1.weight.data *= 2
        extract(without_names, photos, out, overwrite=True)
        assert features.stored_vocabulary(out, ['name 1']) is None
        assert not (out / 'names.pth').exists()

    def test_images_of_another_place_are_told(self, own_photos: Path, tmp_path: Path) -> None:
        made_by, out = world.maker(), tmp_path / 'out'
        extract(made_by, own_photos, out)
        moved = own_photos.rename(tmp_path / 'moved')
        with pytest.warns(UserWarning, match='photos. Those in .*moved count as the same'):
            assert extract(made_by, moved, out).computed == 0
        assert read_region_features(out).image_root == str(moved)

    def test_other_images_of_the_same_names_are_noticed(
        self, own_photos: Path, tmp_path: Path
    ) -> None:
        made_by, out = world.maker(), tmp_path / 'out'
        extract(made_by, own_photos, out, images_per_file=2)
        tiny_inference.save_image(own_photos / '02.png', height=90, width=70, seed=9)
        assert extract(made_by, own_photos, out, images_per_file=2).computed == 2
        assert read_region_features(out).image_sizes[2].tolist() == [90, 70]

    def test_a_shorter_list_leaves_no_files_behind(self, own_photos: Path, tmp_path: Path) -> None:
        made_by, out = world.maker(), tmp_path / 'out'
        extract(made_by, own_photos, out, images_per_file=2)
        (own_photos / 'more' / '04.png').unlink()
        assert extract(made_by, own_photos, out, images_per_file=2).computed == 0
        assert len(read_region_features(out).image_paths) == 4
        assert not (out / 'regions-00002.npz').exists()


class TestBrokenImages:
    def test_they_are_named_and_repaired(self, own_photos: Path, tmp_path: Path) -> None:
        made_by, out = world.maker(), tmp_path / 'out'
        whole = (own_photos / '01.png').read_bytes()
        (own_photos / '01.png').write_bytes(whole[:100])
        report = extract(made_by, own_photos, out)
        ((path, why),) = report.broken
        assert path == '01.png' and 'cannot be decoded' in why
        assert (out / 'broken.tsv').read_text() == f'01.png\t{why}\n'
        assert '1 could not be read\n  01.png: ' in str(report)
        found = read_region_features(out)
        assert found.broken == [(path, why)]
        assert np.diff(found.starts).tolist() == [10, 0, 10, 10, 10]
        assert extract(made_by, own_photos, out).computed == 0  # known
        (own_photos / '01.png').write_bytes(whole)
        assert extract(made_by, own_photos, out).broken == []
        assert (out / 'broken.tsv').read_text() == ''
        assert len(read_region_features(out)) == 50

    def test_the_same_bytes_whoever_meets_them(self, own_photos: Path, tmp_path: Path) -> None:
        (own_photos / '01.png').write_bytes(b'no image')
        for name in ('one', 'two'):
            extract(world.maker(), own_photos, tmp_path / name)
        assert world.contents(tmp_path / 'one') == world.contents(tmp_path / 'two')
        assert ' at 0x' not in (tmp_path / 'one' / 'broken.tsv').read_text()

    @pytest.mark.parametrize('size', [(3000, 1), (1, 3000)])
    def test_one_of_which_resizing_leaves_nothing(
        self, own_photos: Path, tmp_path: Path, size: tuple[int, int]
    ) -> None:
        Image.new('RGB', size).save(own_photos / 'thin.png')
        report = extract(world.maker(), own_photos, tmp_path / 'out')
        ((path, why),) = report.broken
        assert path == 'thin.png' and f'{size[0]} x {size[1]} pixels cannot be prepared' in why
        assert report.regions == 50

    def test_a_name_that_is_no_utf_8(self, own_photos: Path, tmp_path: Path) -> None:
        """As archives from elsewhere leave them."""
        for name, source in ((b'/gr\xf6n.png', '00.png'), (b'/br\xf6ken.png', None)):
            with open(os.fsencode(own_photos) + name, 'wb') as file:
                file.write((own_photos / source).read_bytes() if source else b'no image')
        out = tmp_path / 'out'
        report = extract(world.maker(), own_photos, out)
        assert report.regions == 60 and str(report).encode()
        assert (out / 'broken.tsv').read_text().startswith('br\\udcf6ken.png\t')
        assert extract(world.maker(), own_photos, out).computed == 0
        found = features.search_folder(out, world.vocabulary(1), one_per_image=True)
        assert b'gr\\udcf6n.png' in features.as_table(found).encode()
        features.draw_hits(found)

    def test_all_of_them(self, own_photos: Path, tmp_path: Path) -> None:
        for name in world.NAMES:
            (own_photos / name).write_bytes(b'no image')
        with pytest.raises(OSError, match='none of the 5 images .* 00.png: .*cannot be decoded'):
            extract(world.maker(), own_photos, tmp_path / 'out')
