# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The generator: determinism, split rule, boxes against pixels, captions against objects."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.shapes_world import ShapesWorldSpec, is_complete, make_shapes_world, sample_image
from examples.shapes_world.captions import describe
from examples.shapes_world.drawing import object_mask
from regionclip_mmdet.datasets.shapes_world import (
    BASE_CLASSES,
    CLASSES,
    COLORS,
    NOVEL_CLASSES,
    SHAPES,
)


def read_all(root: Path) -> dict[str, bytes]:
    """Bytes of every file below a folder."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob('*') if p.is_file()}


def load(path: Path) -> dict:
    """Content of a JSON file."""
    return json.loads(path.read_text())


@pytest.mark.parametrize('kind', ['scenes', 'object_centric'])
def test_same_bytes_for_every_worker_count(tmp_path: Path, kind: str) -> None:
    spec = ShapesWorldSpec(kind, 70, seed=3)
    one = read_all(make_shapes_world(tmp_path / 'one', spec, num_workers=1, progress=False))
    two = read_all(make_shapes_world(tmp_path / 'two', spec, num_workers=2, progress=False))
    assert one == two
    assert len(one) == 70 + 4


def test_seed_split_and_kind_change_the_images() -> None:
    specs = [
        ShapesWorldSpec('scenes', 1, seed=0),
        ShapesWorldSpec('scenes', 1, seed=1),
        ShapesWorldSpec('scenes', 1, seed=0, split='val'),
        ShapesWorldSpec('object_centric', 1, image_size=128),
    ]
    assert len({sample_image(spec, 0)[0].tobytes() for spec in specs}) == 4


def test_split_rule() -> None:
    assert (len(CLASSES), len(BASE_CLASSES), len(NOVEL_CLASSES)) == (64, 48, 16)
    assert set(BASE_CLASSES) | set(NOVEL_CLASSES) == set(CLASSES)
    for words, place in ((COLORS, 0), (SHAPES, 1)):
        novel = [name.split()[place] for name in NOVEL_CLASSES]
        base = [name.split()[place] for name in BASE_CLASSES]
        for word in words:
            assert (novel.count(word), base.count(word)) == (2, 6)


def test_novel_objects_have_no_boxes_for_training(scenes: Path) -> None:
    full, base = load(scenes / 'instances.json'), load(scenes / 'instances_base.json')
    assert [c['name'] for c in full['categories']] == list(CLASSES)
    assert [c['name'] for c in base['categories']] == list(BASE_CLASSES)
    assert full['images'] == base['images']
    names = {c['id']: c['name'] for c in full['categories']}
    kept = [a for a in full['annotations'] if names[a['category_id']] in BASE_CLASSES]
    assert base['annotations'] == kept
    assert 0 < len(kept) < len(full['annotations'])
    captions = ' '.join(a['caption'] for a in load(scenes / 'captions.json')['annotations'])
    assert any(name in captions for name in NOVEL_CLASSES)


@pytest.mark.parametrize('kind', ['scenes', 'object_centric'])
def test_boxes_fit_the_drawn_pixels(kind: str) -> None:
    spec = ShapesWorldSpec(kind, 30)
    seen = set()
    for index in range(30):
        for obj in sample_image(spec, index)[1]:
            seen.add(obj.name.split()[1])
            mask, corner = object_mask(obj, spec.image_size)
            coverage = np.asarray(mask) / 255.0
            rows, columns = (
                np.nonzero(coverage.max(1) > 0.1)[0],
                np.nonzero(coverage.max(0) > 0.1)[0],
            )
            drawn = (
                columns[0] + corner[0],
                rows[0] + corner[1],
                columns[-1] + 1 + corner[0],
                rows[-1] + 1 + corner[1],
            )
            assert np.abs(np.array(drawn) - obj.box).max() <= 1.5
            x1, y1, x2, y2 = obj.box
            assert x1 >= 0 and y1 >= 0 and x2 <= spec.image_size and y2 <= spec.image_size
            # Pillow fills edge pixels too (2/3 of a fine pixel); a ring's hole is no area
            perimeter = np.linalg.norm(np.diff(obj.polygon, axis=0, append=obj.polygon[:1]), axis=1)
            assert abs(coverage.sum() - obj.area) <= 0.25 * perimeter.sum()
            if obj.hole is not None:
                x1, y1, x2, y2 = obj.box
                ellipse = np.pi * (x2 - x1) * (y2 - y1) / 4
                assert 0.6 * ellipse < obj.area < 0.75 * ellipse
    assert seen == set(SHAPES)


def test_polygons_are_valid_coco(scenes: Path) -> None:
    from pycocotools import mask as coco_mask

    zoom = 16  # fine enough for the tips of stars
    for ann in load(scenes / 'instances.json')['annotations']:
        polygons = [[zoom * v for v in polygon] for polygon in ann['segmentation']]
        rle = coco_mask.merge(coco_mask.frPyObjects(polygons, 128 * zoom, 128 * zoom))
        assert float(coco_mask.area(rle)) / zoom**2 == pytest.approx(ann['area'], rel=0.02)
        np.testing.assert_allclose(coco_mask.toBbox(rle) / zoom, ann['bbox'], atol=0.3)
        assert ann['iscrowd'] == 0


def test_drawn_color_is_the_named_one() -> None:
    spec = ShapesWorldSpec('object_centric', 20, object_counts=(1,))
    for index in range(20):
        image, (obj,), _ = sample_image(spec, index)
        mask, (left, top) = object_mask(obj, spec.image_size)
        patch = np.asarray(image, dtype=float)[top : top + mask.height, left : left + mask.width]
        color = np.median(patch[np.asarray(mask) == 255], axis=0)
        distances = {name: np.abs(color - rgb).max() for name, rgb in COLORS.items()}
        assert min(distances, key=distances.get) == obj.name.split()[0]


def test_sizes_counts_and_overlap() -> None:
    for kind, counts, (low, high) in (
        ('scenes', {3, 4, 5, 6}, (16, 44)),
        ('object_centric', {1, 2}, (40, 80)),
    ):
        spec = ShapesWorldSpec(kind, 60)
        worlds = [sample_image(spec, index)[1] for index in range(60)]
        assert {len(objects) for objects in worlds} == counts
        sides = [max(o.box[2] - o.box[0], o.box[3] - o.box[1]) for w in worlds for o in w]
        assert low - 0.01 <= min(sides) < max(sides) <= high + 0.01
        for objects in worlds:
            boxes = np.array([o.box for o in objects])
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            for i in range(len(boxes)):
                for j in range(i):
                    sides_ij = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(
                        boxes[i, :2], boxes[j, :2]
                    )
                    assert sides_ij.clip(0).prod() <= 0.1 * min(areas[i], areas[j]) + 1e-6


def test_captions_name_only_what_is_there() -> None:
    spec = ShapesWorldSpec('scenes', 50)
    for index in range(50):
        _, objects, captions = sample_image(spec, index)
        present = [obj.name for obj in objects]
        assert 2 <= len(captions) <= 3 and len(set(captions)) == len(captions)
        for caption in captions:
            named = [name for name in CLASSES for _ in range(caption.count(name))]
            assert len(named) >= 2
            assert all(named.count(name) <= present.count(name) for name in named)
            assert ' a orange' not in caption and ' an red' not in caption


def test_describe() -> None:
    assert describe(['orange star']) == 'an orange star'
    names = ['red ring', 'blue star', 'red ring']
    assert describe(names) == 'a red ring, a blue star and another red ring'
    assert describe(names[:2], next_to=True) == 'a red ring next to a blue star'


def test_rerun_keeps_and_damage_is_repaired(tmp_path: Path) -> None:
    spec = ShapesWorldSpec('scenes', 5)
    root = make_shapes_world(tmp_path / 'w', spec, num_workers=1, progress=False)
    before = read_all(root)
    stamp = (root / 'instances.json').stat().st_mtime_ns
    make_shapes_world(root, spec, num_workers=1, progress=False)
    assert (root / 'instances.json').stat().st_mtime_ns == stamp

    (root / 'images/000003.jpg').unlink()
    assert not is_complete(root, spec)
    (root.parent / 'w.partial').mkdir()  # as an interrupted run leaves it
    make_shapes_world(root, spec, num_workers=1, progress=False)
    assert read_all(root) == before
    assert not (root.parent / 'w.partial').exists()

    other = ShapesWorldSpec('scenes', 5, seed=1)
    assert not is_complete(root, other)
    make_shapes_world(root, other, num_workers=1, progress=False)
    assert is_complete(root, other) and read_all(root) != before


def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(FileExistsError, match=r'world\.json'):
        make_shapes_world(tmp_path, ShapesWorldSpec('scenes', 1), progress=False)
    assert (tmp_path / 'notes.txt').read_text() == 'mine'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'kind': 'scene'}, 'unknown kind'),
        ({'num_images': 0}, 'num_images'),
        ({'object_size': (16, 200)}, 'object_size'),
        ({'object_counts': (1, 2), 'count_weights': (1.0,)}, 'one weight'),
    ],
)
def test_bad_parameters(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ShapesWorldSpec(**{'kind': 'scenes', 'num_images': 1, **changes})


def test_images_are_readable(scenes: Path) -> None:
    with Image.open(scenes / 'images/000000.jpg') as image:
        assert image.size == (128, 128) and image.mode == 'RGB'
