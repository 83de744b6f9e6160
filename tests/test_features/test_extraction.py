# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files of region features hold what the model gives, and no run changes or loses anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import features_world as world
import numpy as np
import pytest
import tiny_inference
import torch

from regionclip_mmdet import features
from regionclip_mmdet.apis import encode_images, encode_regions, query_image
from regionclip_mmdet.features import (
    CocoBoxes,
    ExtractionReport,
    GridBoxes,
    RegionFeatures,
    RegionMaker,
    list_images,
    read_region_features,
)
from regionclip_mmdet.models.text import TextEmbeddings


def extract(
    made_by: RegionMaker, photos: Path | str, out: Path, boxes: Any = None, **settings: Any
) -> ExtractionReport:
    settings.setdefault('progress', False)
    return features.extract_region_features(
        made_by, list_images(photos), world.inputs_of(made_by), str(out), boxes, **settings
    )


def made(photos: Path, out: Path, **settings: Any) -> tuple[RegionMaker, RegionFeatures]:
    made_by = world.maker(**settings)
    extract(made_by, photos, out)
    return made_by, read_region_features(out)


def assert_equal_features(one: RegionFeatures, other: RegionFeatures, atol: float = 0) -> None:
    for key in ('image_paths', 'image_ids', 'image_sizes', 'starts', 'labels', 'top_labels'):
        np.testing.assert_array_equal(getattr(one, key), getattr(other, key))
    for key in ('boxes', 'scores', 'objectness', 'embeddings', 'norms', 'top_scores'):
        np.testing.assert_allclose(getattr(one, key), getattr(other, key), rtol=atol, atol=atol)


def test_proposals_with_embeddings_and_names(photos: Path, tmp_path: Path) -> None:
    """Against what the API computes for the same images."""
    names = world.vocabulary()
    made_by, found = made(photos, tmp_path / 'out', vocabulary=names, dtype='float32', top=3)
    assert list(found.image_paths) == world.NAMES and list(found.image_ids) == [0, 1, 2, 3, 4]
    assert found.image_sizes.tolist() == [list(size) for size in world.SIZES]
    assert found.manifest.names == list(names.names) and found.manifest.label_names == []
    assert found.broken == []
    for number, name in enumerate(world.NAMES):
        (wanted,) = encode_images(made_by.model, str(photos / name), all_regions=True)
        rows = found.of_image(number)
        assert len(wanted) == rows.stop - rows.start == 10
        height, width = world.SIZES[number]
        boxes = wanted.boxes.numpy().clip(0, [width, height] * 2)
        np.testing.assert_allclose(found.boxes[rows], boxes, atol=1e-3)
        logits, raw = wanted.objectness_logits.numpy(), wanted.embeddings.numpy()
        np.testing.assert_allclose(found.objectness[rows], logits, atol=1e-5)
        assert (np.diff(found.objectness[rows]) <= 0).all()
        np.testing.assert_allclose(found.scores[rows], 1 / (1 + np.exp(-logits)), atol=1e-6)
        np.testing.assert_allclose(found.raw[rows], raw, rtol=1e-4, atol=1e-5)
        unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        np.testing.assert_allclose(found.normalized[rows], unit, rtol=1e-4, atol=1e-5)
        text = names.matrix.numpy() / np.linalg.norm(names.matrix.numpy(), axis=1, keepdims=True)
        exponents = np.exp(unit @ text.T / 0.1)
        probs = exponents / (exponents.sum(axis=1, keepdims=True) + 1)  # background: exp(0)
        best = np.argsort(-probs, axis=1)[:, :3]
        np.testing.assert_array_equal(found.top_labels[rows], best)
        wanted_scores = np.take_along_axis(probs, best, axis=1)
        np.testing.assert_allclose(found.top_scores[rows], wanted_scores, rtol=1e-3)
    assert (found.labels == -1).all() and (found.box_ids == -1).all()


def test_half_precision_keeps_directions(photos: Path, tmp_path: Path) -> None:
    _, full = made(photos, tmp_path / 'full', dtype='float32')
    _, half = made(photos, tmp_path / 'half')
    assert half.embeddings.dtype == np.float16 and full.embeddings.dtype == np.float32
    np.testing.assert_allclose(half.normalized, full.normalized, atol=5e-4)
    np.testing.assert_allclose(half.raw, full.raw, rtol=1e-3, atol=5e-3)
    cosines = [features.normalized @ full.normalized.T for features in (half, full)]
    assert 0 < np.abs(cosines[0] - cosines[1]).max() < 5e-4  # as the page says


def test_fewer_proposals_are_the_best_of_all(photos: Path, tmp_path: Path) -> None:
    _, every = made(photos, tmp_path / 'all', dtype='float32')
    threshold = float(np.median(every.scores))
    _, few = made(photos, tmp_path / 'few', dtype='float32', max_regions=4, score_thr=threshold)
    kept = np.concatenate(
        [
            (rows := np.arange(len(every))[every.of_image(i)])[every.scores[rows] > threshold][:4]
            for i in range(len(world.SIZES))
        ]
    )
    assert 0 < len(kept) < 20
    np.testing.assert_array_equal(few.boxes, every.boxes[kept])
    np.testing.assert_allclose(few.raw, every.raw[kept], rtol=1e-4, atol=1e-5)


def overlaps(boxes: np.ndarray) -> np.ndarray:
    """IoU of all pairs, without the diagonal."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    inner = (high - low).clip(0).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return (inner / (areas[:, None] + areas - inner)) * (1 - np.eye(len(boxes)))


def test_class_agnostic_nms_of_proposals(photos: Path, tmp_path: Path) -> None:
    _, every = made(photos, tmp_path / 'all')
    _, apart = made(photos, tmp_path / 'apart', nms='class-agnostic', nms_iou=0.3)
    assert 5 <= len(apart) < len(every)
    for number in range(len(world.SIZES)):
        boxes = every.boxes[every.of_image(number)]
        kept: list[int] = []
        for row in range(len(boxes)):  # by falling score
            if all(overlaps(boxes[[row, other]])[0, 1] <= 0.3 for other in kept):
                kept.append(row)
        np.testing.assert_array_equal(apart.boxes[apart.of_image(number)], boxes[kept])


def telling_names(photos: Path) -> TextEmbeddings:
    """Names that tell regions apart; random ones do not, a tiny model's regions are alike."""
    (encoded,) = encode_images(world.maker().model, str(photos / '00.png'), all_regions=True)
    unit = torch.nn.functional.normalize(encoded.embeddings, dim=1)
    return TextEmbeddings([f'like {i}' for i in range(6)], (unit - unit.mean(0))[:6])


class TestDetections:
    def test_class_wise_they_are_the_models(self, photos: Path, tmp_path: Path) -> None:
        names = world.vocabulary()
        settings = dict(source='detections', vocabulary=names, dtype='float32')
        made_by, found = made(photos, tmp_path / 'out', **settings)
        assert found.manifest.label_names == list(names.names)
        for number, name in enumerate(world.NAMES):
            (encoded,) = encode_images(made_by.model, str(photos / name))
            wanted = query_image(made_by.model, encoded, names)
            rows = found.of_image(number)
            np.testing.assert_allclose(found.boxes[rows], wanted.bboxes.numpy(), atol=1e-3)
            np.testing.assert_allclose(found.scores[rows], wanted.scores.numpy(), atol=1e-6)
            np.testing.assert_array_equal(found.labels[rows], wanted.labels.numpy())
            raw = encoded.embeddings[wanted.region_inds].numpy()
            np.testing.assert_allclose(found.raw[rows], raw, rtol=1e-4, atol=1e-5)
            logits = encoded.objectness_logits[wanted.region_inds].numpy()
            np.testing.assert_allclose(found.objectness[rows], logits, atol=1e-5)
            # what one region is called several times, twice over
            assert len(np.unique(wanted.region_inds)) < len(wanted)

    @pytest.mark.parametrize('objectness', ['none', 'sigmoid', 'logit'])
    def test_class_agnostic_one_box_is_one_row(
        self, photos: Path, tmp_path: Path, objectness: str
    ) -> None:
        names = telling_names(photos)
        made_by, found = made(
            photos,
            tmp_path / 'out',
            source='detections',
            vocabulary=names,
            nms='class-agnostic',
            nms_iou=0.4,
            dtype='float32',
            rcnn=dict(objectness=objectness),
        )
        for number, name in enumerate(world.NAMES):
            (encoded,) = encode_images(made_by.model, str(photos / name))
            # every (region, name), nothing suppressed
            loose = dict(type='nms', iou_threshold=1.0)
            pairs = query_image(made_by.model, encoded, names, nms=loose, max_per_img=-1)
            best: dict[int, int] = {}
            for row, region in enumerate(pairs.region_inds.tolist()):
                best.setdefault(region, row)  # by falling score
            kept: list[int] = []
            for row in best.values():
                boxes = pairs.bboxes.numpy()
                if all(overlaps(boxes[[row, other]])[0, 1] <= 0.4 for other in kept):
                    kept.append(row)
            rows = found.of_image(number)
            assert rows.stop - rows.start == len(kept) > 1
            np.testing.assert_allclose(found.boxes[rows], pairs.bboxes[kept].numpy(), atol=1e-3)
            np.testing.assert_allclose(found.scores[rows], pairs.scores[kept].numpy(), atol=1e-6)
            np.testing.assert_array_equal(found.labels[rows], pairs.labels[kept].numpy())
        assert len(np.unique(found.labels)) > 2

    def test_many_names_a_few_regions_at_a_time(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = dict(source='detections', vocabulary=world.vocabulary(), nms='class-agnostic')
        _, whole = made(photos, tmp_path / 'whole', **settings)
        monkeypatch.setattr(features.region_maker, 'LOGITS_AT_A_TIME', 21)  # three regions
        _, pieces = made(photos, tmp_path / 'pieces', **settings)
        assert_equal_features(pieces, whole, atol=1e-5)


class TestGivenBoxes:
    def test_annotations(self, photos: Path, tmp_path: Path) -> None:
        path = world.write_json(photos.parent / 'boxes.json', world.annotations())
        made_by = world.maker(source='given', dtype='float32', vocabulary=world.vocabulary())
        images = list_images(path, photos)
        report = features.extract_region_features(
            made_by,
            images,
            world.inputs_of(made_by),
            str(tmp_path / 'out'),
            CocoBoxes(str(path), images),
            progress=False,
        )
        found = read_region_features(tmp_path / 'out')
        assert (report.regions, report.images, report.dropped) == (3, 5, 0)
        assert found.image_ids.tolist() == [10, 11, 12, 13, 14]
        assert np.diff(found.starts).tolist() == [2, 0, 1, 0, 0]
        # in the order of the file, cut at the border; the crowd is left out
        boxes = [[10, 5, 40, 25], [40, 20, 80, 50], [0, 0, 80, 60]]
        np.testing.assert_array_equal(found.boxes, np.array(boxes, dtype=np.float32))
        assert found.box_ids.tolist() == [7, 3, 5]
        assert [found.manifest.label_names[i] for i in found.labels] == ['stuff', 'thing', 'stuff']
        assert np.isnan(found.scores).all() and np.isnan(found.objectness).all()
        wanted = encode_regions(
            made_by.model, [str(photos / world.NAMES[i]) for i in (0, 2)], [boxes[:2], boxes[2:]]
        )
        raw = torch.cat([regions.raw for regions in wanted]).numpy()
        np.testing.assert_allclose(found.raw, raw, rtol=1e-4, atol=1e-5)

    def test_annotations_are_found_by_path_in_a_folder(self, photos: Path, tmp_path: Path) -> None:
        path = world.write_json(tmp_path / 'boxes.json', world.annotations())
        made_by = world.maker(source='given')
        extract(made_by, photos, tmp_path / 'out', CocoBoxes(str(path), list_images(photos)))
        found = read_region_features(tmp_path / 'out')
        assert found.image_ids.tolist() == [0, 1, 2, 3, 4] and found.box_ids.tolist() == [7, 3, 5]

    def test_results_with_nms_and_dropped_boxes(self, photos: Path, tmp_path: Path) -> None:
        content = world.annotations()
        listing = world.write_json(tmp_path / 'images.json', content)
        boxes = [[10, 10, 20, 20], [50, 5, 20, 20], [11, 10, 20, 20], [90, 10, 5, 5]]
        scores = [0.3, 0.2, 0.9, 0.8]
        rows = [
            dict(image_id=12, bbox=box, category_id=1, score=score)
            for box, score in zip(boxes, scores)
        ]
        results = world.write_json(tmp_path / 'results.json', rows)
        images = list_images(listing, photos)
        made_by = world.maker(source='given', nms='class-agnostic')
        report = features.extract_region_features(
            made_by,
            images,
            world.inputs_of(made_by),
            str(tmp_path / 'out'),
            CocoBoxes(str(results), images),
            progress=False,
        )
        found = read_region_features(tmp_path / 'out')
        # the first is suppressed by the third; the last lies outside the image of 80 x 60
        assert found.box_ids.tolist() == [1, 2] and report.dropped == 1
        np.testing.assert_allclose(found.scores, [0.2, 0.9])
        assert '1 given boxes have no area within their image' in str(report)

    def test_a_grid(self, photos: Path, tmp_path: Path) -> None:
        extract(world.maker(source='given'), photos, tmp_path / 'out', GridBoxes((1, 2)))
        found = read_region_features(tmp_path / 'out')
        assert np.diff(found.starts).tolist() == [5] * 5
        wanted = [[0, 0, 80, 60], [0, 0, 40, 30], [40, 0, 80, 30], [0, 30, 40, 60]]
        np.testing.assert_array_equal(found.boxes[:4], wanted)

    def test_refusals(self, photos: Path, tmp_path: Path) -> None:
        content = world.annotations()
        path = world.write_json(tmp_path / 'boxes.json', content)
        images = list_images(photos)
        scored = world.maker(source='given', score_thr=0.5)
        with pytest.raises(ValueError, match=r'boxes.json: boxes without scores'):
            extract(scored, photos, tmp_path / 'out', CocoBoxes(str(path), images))
        with pytest.raises(ValueError, match='grid have no scores'):
            extract(scored, photos, tmp_path / 'out', GridBoxes())
        with pytest.raises(ValueError, match="source 'given'"):
            extract(world.maker(source='given'), photos, tmp_path / 'out')
        results = world.write_json(tmp_path / 'results.json', [dict(image_id=1, bbox=[0, 0, 1, 1])])
        with pytest.raises(ValueError, match='by their ids alone'):
            CocoBoxes(str(results), images)
        with pytest.raises(ValueError, match='none of them lies'):
            CocoBoxes(str(results), list_images(path, photos))
        content['images'][0].update(width=60, height=80)
        turned = CocoBoxes(str(world.write_json(path, content)), images)
        with pytest.raises(ValueError, match=r'00.png: the image has 80 x 60 .* says 60 x 80'):
            extract(world.maker(source='given'), photos, tmp_path / 'out', turned, num_workers=1)


@pytest.mark.parametrize(
    'settings',
    [
        dict(source='localizer'),
        dict(source='detections'),
        dict(source='detections', nms='class-agnostic'),
    ],
)
def test_images_without_any_region(photos: Path, tmp_path: Path, settings: dict) -> None:
    made_by = world.maker(**settings, vocabulary=world.vocabulary())
    made_by.model.localizer.test_cfg.min_bbox_size = 1000
    assert extract(made_by, photos, tmp_path / 'out').regions == 0
    found = read_region_features(tmp_path / 'out')
    assert found.starts.tolist() == [0] * 6
    assert found.embeddings.shape == (0, 32) and found.top_labels.shape == (0, 5)


@pytest.mark.parametrize('batch_size', [2, 4])
def test_batches_change_rounding_alone(photos: Path, tmp_path: Path, batch_size: int) -> None:
    made_by = world.maker(dtype='float32')
    extract(made_by, photos, tmp_path / 'one')
    extract(made_by, photos, tmp_path / 'many', batch_size=batch_size)
    one, many = (read_region_features(tmp_path / name) for name in ('one', 'many'))
    assert_equal_features(many, one, atol=1e-4)


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
        with pytest.raises(ValueError, match=r'regions-00000.npz is no whole file'):
            read_region_features(out)

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

    def test_all_of_them(self, own_photos: Path, tmp_path: Path) -> None:
        for name in world.NAMES:
            (own_photos / name).write_bytes(b'no image')
        with pytest.raises(OSError, match='none of the 5 images .* 00.png: .*cannot be decoded'):
            extract(world.maker(), own_photos, tmp_path / 'out')


class TestOfficialFiles:
    def test_of_proposals(self, photos: Path, tmp_path: Path) -> None:
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
        with pytest.raises(ValueError, match='official format'):
            read_region_features(tmp_path / 'out')

    def test_of_detections(self, photos: Path, tmp_path: Path) -> None:
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

    def test_again(self, own_photos: Path, tmp_path: Path) -> None:
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

    def test_two_images_for_one_file(self, own_photos: Path, tmp_path: Path) -> None:
        (own_photos / '00.second.png').write_bytes((own_photos / '00.png').read_bytes())
        with pytest.raises(ValueError, match=r'00.png and 00.second.png would have the same file'):
            extract(world.maker(), own_photos, tmp_path / 'out', file_format='official')


def test_a_model_without_a_localizer(photos: Path, tmp_path: Path) -> None:
    model = tiny_inference.detector(localizer=None)
    with pytest.raises(ValueError, match='no localizer to propose'):
        RegionMaker(model, features.RegionSettings())
    made_by = RegionMaker(model, features.RegionSettings(source='given'))
    assert extract(made_by, photos, tmp_path / 'out', GridBoxes((1,))).regions == 5
