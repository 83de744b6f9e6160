# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What stands for which images, in which order."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from helpers import features_world as world
from regionclip_mmdet.features import ImageList, RegionSettings, list_images


def paths(found: ImageList) -> list[str]:
    return [entry.path for entry in found.entries]


def test_a_folder_and_those_below_it(photos: Path) -> None:
    found = list_images(photos)
    assert paths(found) == world.NAMES and found.root == str(photos)
    assert [entry.id for entry in found.entries] == [0, 1, 2, 3, 4]
    assert all(Path(found.full_path(i)).is_file() for i in range(5))


def test_other_files_are_no_images(own_photos: Path) -> None:
    (own_photos / 'notes.txt').write_text('x')
    (own_photos / 'UPPER.JPG').write_bytes(b'')
    assert paths(list_images(own_photos)) == sorted([*world.NAMES, 'UPPER.JPG'])


def test_links_to_folders(photos: Path, tmp_path: Path) -> None:
    """As data is often put together; a link that leads back has no end."""
    (tmp_path / 'set').mkdir()
    (tmp_path / 'set' / 'train').symlink_to(photos)
    (tmp_path / 'set' / 'again').symlink_to(tmp_path / 'set')
    (tmp_path / 'set' / 'gone').symlink_to(tmp_path / 'nowhere')
    found = list_images(tmp_path / 'set')
    assert paths(found) == [f'train/{name}' for name in world.NAMES]


def test_patterns(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    assert paths(list_images('0*.png')) == world.NAMES[:3]
    deep = list_images('**/*.png')
    assert paths(deep) == world.NAMES and Path(deep.full_path(3)).is_file()
    assert paths(list_images(f'{photos}/more/*.png')) == [
        f'{photos}/more/03.png',
        f'{photos}/more/04.png',
    ]


def test_kinds_of_images(own_photos: Path, tmp_path: Path) -> None:
    """All are listed, and named alone they are images, too; what is not read is told."""
    image = Image.new('RGB', (40, 30), 'red')
    image.save(own_photos / 'a.gif', save_all=True, append_images=[image])
    image.save(own_photos / 'b.jp2')
    for name in ('c.HEIC', 'd.heic', 'e.svg', 'f.eps'):
        (own_photos / name).write_bytes(b'something')
    (own_photos / 'g.mp4').write_bytes(b'no image')
    others = ['a.gif', 'b.jp2', 'c.HEIC', 'd.heic', 'e.svg', 'f.eps']
    assert paths(list_images(own_photos)) == sorted([*world.NAMES, *others])
    assert [Path(p).name for p in paths(list_images(f'{own_photos}/[a-g].*'))] == others
    for name in others:
        assert paths(list_images(own_photos / name)) == [name]
    made_by = world.maker(max_regions=2)
    report = world.extract(made_by, own_photos, tmp_path / 'out')
    assert report.images == 11 and len(report.broken) == 4
    assert '1 .eps, 2 .heic, 1 .svg: kinds that are not read here' in str(report)
    alone = world.extract(made_by, own_photos / 'a.gif', tmp_path / 'gif')
    assert alone.regions == 2 and not alone.broken
    with pytest.raises(OSError, match=r'c\.HEIC: images of the kind \.heic are not read here'):
        world.extract(made_by, own_photos / 'c.HEIC', tmp_path / 'heic')


def test_one_image(photos: Path) -> None:
    found = list_images(photos / '01.png')
    assert paths(found) == ['01.png'] and found.full_path(0) == str(photos / '01.png')


def test_a_text_file(photos: Path, own_photos: Path) -> None:
    names = own_photos / 'list.txt'
    names.write_text('more/04.png\n\n00.png\n')
    found = list_images(names)
    assert paths(found) == ['more/04.png', '00.png'] and found.root == str(own_photos)
    assert list_images(names, photos).root == str(photos)
    names.write_text('00.png\n', encoding='utf-8-sig')
    assert paths(list_images(names)) == ['00.png']


def test_an_annotation_file(photos: Path, tmp_path: Path) -> None:
    content = world.annotations()
    content['images'].reverse()
    found = list_images(world.write_json(tmp_path / 'a.json', content), photos)
    assert paths(found) == world.NAMES[::-1]
    assert [entry.id for entry in found.entries] == [14, 13, 12, 11, 10]
    del content['images'][0]['file_name']
    content['images'][0]['coco_url'] = 'http://images.cocodataset.org/val2017/000.jpg'
    found = list_images(world.write_json(tmp_path / 'a.json', content), photos)
    assert found.entries[0].path == 'val2017/000.jpg'


def test_refusals(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='nothing is no folder'):
        list_images(tmp_path / 'nothing')
    with pytest.raises(FileNotFoundError, match='no images'):
        list_images(tmp_path)
    with pytest.raises(FileNotFoundError, match='no images'):
        list_images(f'{photos}/*.gif')
    (tmp_path / 'a.dat').write_bytes(b'GIF89a\xff')
    with pytest.raises(ValueError, match=r'a.dat is neither an image .* nor a text file'):
        list_images(tmp_path / 'a.dat')
    twice = tmp_path / 'a.txt'
    twice.write_text('00.png\n01.png\n00.png\n')
    with pytest.raises(ValueError, match=r'a.txt: 00.png is listed twice'):
        list_images(twice)
    content = world.annotations()
    content['images'][0]['id'] = 'first'
    content['annotations'] = []
    with pytest.raises(ValueError, match=r"a.json: the image id 'first' is no whole number"):
        list_images(world.write_json(tmp_path / 'a.json', content))
    with pytest.raises(ValueError, match='belongs to --boxes'):
        list_images(world.write_json(tmp_path / 'results.json', []))


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        (dict(source='rpn'), 'source must be one of'),
        (dict(nms='soft'), 'nms must be one of'),
        (dict(nms='class-wise'), 'Class-wise NMS is that of detections'),
        (dict(source='detections', nms='none'), 'Detections come with NMS'),
        (dict(max_regions=0), 'max_regions must be positive'),
        (dict(nms_iou=0.0), 'nms_iou must lie in'),
        (dict(top=-1), 'top must not be negative'),
        (dict(dtype='float64'), 'dtype must be one of'),
    ],
)
def test_settings_that_do_not_fit(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RegionSettings(**settings)
