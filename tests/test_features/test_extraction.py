# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files of region features hold what the model gives, and no run changes or loses anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import features_world as world
from helpers import tiny_inference
from helpers.features_world import extract, made
from regionclip_mmdet import features
from regionclip_mmdet.apis import encode_images, query_image
from regionclip_mmdet.features import (
    GridBoxes,
    RegionFeatures,
    RegionMaker,
    read_region_features,
)
from regionclip_mmdet.models import recognition
from regionclip_mmdet.models.text import TextEmbeddings


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
        for row in range(len(boxes)):  # in descending score order
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
                best.setdefault(region, row)  # in descending score order
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
        monkeypatch.setattr(recognition, 'LOGITS_AT_A_TIME', 21)  # three regions
        _, pieces = made(photos, tmp_path / 'pieces', **settings)
        assert_equal_features(pieces, whole, atol=1e-5)


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


def test_a_model_without_a_localizer(photos: Path, tmp_path: Path) -> None:
    model = tiny_inference.detector(localizer=None)
    with pytest.raises(ValueError, match='no localizer to propose'):
        RegionMaker(model, features.RegionSettings())
    made_by = RegionMaker(model, features.RegionSettings(source='given'))
    assert extract(made_by, photos, tmp_path / 'out', GridBoxes((1,))).regions == 5
