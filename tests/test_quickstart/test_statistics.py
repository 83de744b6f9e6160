# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Scores and their standard errors, against pycocotools and against counting by hand."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from examples.quickstart.statistics import (
    DetectionScores,
    bootstrap_weights,
    difference,
    proposal_recall,
    to_estimate,
)

SPLITS = dict(base=['cat', 'dog'], novel=['fox'])
NUM_IMAGES = 30


@pytest.fixture(scope='module')
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Random boxes of three categories, and detections that are often but not always right."""
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp('coco')
    annotations, detections = [], []
    for image in range(1, NUM_IMAGES + 1):
        for _ in range(int(rng.integers(1, 5))):
            box = [*rng.uniform(0, 60, 2), *rng.uniform(10, 40, 2)]
            category = int(rng.integers(1, 4))
            annotations.append(
                dict(id=len(annotations) + 1, image_id=image, bbox=box, category_id=category)
                | dict(area=box[2] * box[3], iscrowd=0)
            )
            moved = [v + rng.normal(0, 3) for v in box]
            for guess in (category, int(rng.integers(1, 4))):
                score = float(np.round(rng.uniform(), 4))
                detections.append(dict(image_id=image, bbox=moved, category_id=guess, score=score))
    truth = dict(
        images=[dict(id=i, file_name=f'{i}.jpg') for i in range(1, NUM_IMAGES + 1)],
        annotations=annotations,
        categories=[dict(id=i, name=n) for i, n in enumerate(('cat', 'dog', 'fox'), 1)],
    )
    (folder / 'truth.json').write_text(json.dumps(truth))
    (folder / 'found.json').write_text(json.dumps(detections))
    return folder / 'truth.json', folder / 'found.json'


def _coco_precision(truth: Path, found: Path) -> np.ndarray:
    """pycocotools' precision at IoU 0.5, (101, categories)."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        evaluation = COCOeval(coco, coco.loadRes(str(found)), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval['precision'][0, :, :, 0, -1]


def test_ap50_of_the_real_images_is_cocos(files: tuple[Path, Path]) -> None:
    scores = DetectionScores(files[0], SPLITS, replicates=5).ap50(files[1])
    precision = _coco_precision(*files)
    assert 0.2 < precision.mean() < 0.95
    assert scores['all'][0] == pytest.approx(precision.mean(), abs=1e-9)
    assert scores['base'][0] == pytest.approx(precision[:, :2].mean(), abs=1e-9)
    assert scores['novel'][0] == pytest.approx(precision[:, 2].mean(), abs=1e-9)


def test_a_draw_equals_coco_on_copied_images(files: tuple[Path, Path], tmp_path: Path) -> None:
    scores = DetectionScores(files[0], SPLITS, replicates=1)
    drawn = scores.weights[1]
    assert drawn.sum() == NUM_IMAGES and drawn.max() > 1
    truth, found = (json.loads(f.read_text()) for f in files)
    new_truth, new_found = dict(truth, images=[], annotations=[]), []
    for image_id, times in zip(scores.image_ids, drawn):
        for copy in range(times):
            new_id = 1000 * (copy + 1) + image_id
            new_truth['images'].append(dict(id=new_id, file_name='x'))
            for a in truth['annotations']:
                if a['image_id'] == image_id:
                    number = len(new_truth['annotations']) + 1
                    new_truth['annotations'].append(dict(a, id=number, image_id=new_id))
            new_found += [dict(d, image_id=new_id) for d in found if d['image_id'] == image_id]
    (tmp_path / 'truth.json').write_text(json.dumps(new_truth))
    (tmp_path / 'found.json').write_text(json.dumps(new_found))
    expected = _coco_precision(tmp_path / 'truth.json', tmp_path / 'found.json').mean()
    # Equal scores of copies may be ranked in another order: hence not to the last digit.
    assert scores.ap50(files[1])['all'][1] == pytest.approx(expected, abs=5e-3)


def test_no_detections_give_zero(files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / 'none.json').write_text('[]')
    scores = DetectionScores(files[0], SPLITS, replicates=2).ap50(tmp_path / 'none.json')
    assert all((values == 0).all() for values in scores.values())


def test_region_accuracy_counts_best_scored_names(tmp_path: Path) -> None:
    boxes = [[0, 0, 10, 10], [20, 20, 10, 10], [0, 30, 10, 10]]
    truth = dict(
        images=[dict(id=1), dict(id=2)],
        annotations=[
            dict(id=1, image_id=1, bbox=boxes[0], category_id=1, area=100, iscrowd=0),
            dict(id=2, image_id=1, bbox=boxes[1], category_id=3, area=100, iscrowd=0),
            dict(id=3, image_id=2, bbox=boxes[2], category_id=2, area=100, iscrowd=0),
        ],
        categories=[dict(id=i, name=n) for i, n in enumerate(('cat', 'dog', 'fox'), 1)],
    )
    found = [
        dict(image_id=1, bbox=boxes[0], category_id=1, score=0.6),
        dict(image_id=1, bbox=boxes[0], category_id=2, score=0.3),
        # the better score is wrong
        dict(image_id=1, bbox=boxes[1], category_id=3, score=0.2),
        dict(image_id=1, bbox=boxes[1], category_id=1, score=0.4),
        # right name, another place
        dict(image_id=2, bbox=[5, 30, 10, 10], category_id=2, score=0.9),
    ]
    for name, content in (('truth', truth), ('found', found)):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    scores = DetectionScores(tmp_path / 'truth.json', SPLITS, replicates=3)
    accuracy = scores.region_accuracy(tmp_path / 'found.json')
    assert accuracy['base'][0] == pytest.approx(1 / 2)
    assert accuracy['novel'][0] == 0
    assert accuracy['all'][0] == pytest.approx(1 / 3)


def test_proposal_recall(tmp_path: Path) -> None:
    truth = dict(
        images=[dict(id=1)],
        annotations=[
            dict(id=1, image_id=1, bbox=[0, 0, 10, 10], category_id=1),
            dict(id=2, image_id=1, bbox=[20, 0, 10, 10], category_id=2),
            dict(id=3, image_id=1, bbox=[40, 0, 10, 10], category_id=3),
        ],
        categories=[dict(id=i, name=n) for i, n in enumerate(('cat', 'dog', 'fox'), 1)],
    )
    proposals = [
        dict(image_id=1, bbox=[1, 0, 10, 10], category_id=1, score=1.0),
        dict(image_id=1, bbox=[26, 0, 10, 10], category_id=1, score=1.0),
        dict(image_id=1, bbox=[40, 1, 10, 10], category_id=1, score=1.0),
    ]
    for name, content in (('truth', truth), ('found', proposals)):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    recall = proposal_recall(tmp_path / 'truth.json', tmp_path / 'found.json', SPLITS)
    assert recall == dict(novel=100.0, base=50.0, all=pytest.approx(200 / 3))


def test_bootstrap_error_of_a_mean_is_the_known_one() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.5, 0.2, size=400)
    means = bootstrap_weights(400, 500) @ values / 400
    estimate = to_estimate(means)
    assert estimate.value == pytest.approx(100 * values.mean())
    assert estimate.error == pytest.approx(100 * values.std() / 20, rel=0.12)


def test_paired_difference_cancels_what_images_share() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0.5, 0.3, size=300)
    weights = bootstrap_weights(300, 300) / 300
    first, second = weights @ shared, weights @ (shared + 0.1 + rng.normal(0, 0.01, size=300))
    paired = difference(first, second)
    assert paired.value == pytest.approx(10, abs=0.5)
    assert paired.error < 0.2 * to_estimate(first).error
