# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What is missing, broken or unknown in a case is a failure, and settings come from the case."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from checks.parity import (
    Case,
    CaseError,
    Comparison,
    official_shapes,
    transfer_steps,
    verify,
)
from checks.parity.comparison import compare
from checks.parity.detections import compare_detections, compare_proposals
from helpers.official_names import official_localizer_keys
from regionclip_mmdet.models.post_processing import soft_nms

GOLDEN = Path(__file__).resolve().parents[1] / 'data' / 'golden'


def write(path: Path, arrays: dict, meta: dict | None) -> Path:
    notes = {} if meta is None else dict(meta=json.dumps(meta))
    np.savez(path, **arrays, **notes)
    return path


def soft_nms_case() -> tuple[dict, dict]:
    with np.load(GOLDEN / 'h_softnms_linear.npz') as file:
        arrays = {key: file[key] for key in file.files}
    return arrays, json.loads(str(arrays.pop('meta')))


def drop(arrays: dict, meta: dict) -> None:
    del arrays['keep_scores']


def drop_what_only_the_notes_tell(arrays: dict, meta: dict) -> None:
    del arrays['torchvision_hard_nms_keep']


def break_number(arrays: dict, meta: dict) -> None:
    arrays['keep_scores'][3] = np.nan


def reshape(arrays: dict, meta: dict) -> None:
    arrays['keep_scores'] = arrays['keep_scores'][:, None]


def shorten(arrays: dict, meta: dict) -> None:
    arrays['keep_scores'] = arrays['keep_scores'][:-1]
    meta.pop('shapes')


def move(arrays: dict, meta: dict) -> None:
    arrays['keep_scores'][7] += 2e-5


def swap(arrays: dict, meta: dict) -> None:
    arrays['keep'][[0, 1]] = arrays['keep'][[1, 0]]


def forget_setting(arrays: dict, meta: dict) -> None:
    meta.pop('prune')


def another_setting(arrays: dict, meta: dict) -> None:
    meta['iou_threshold'] = 0.1


@pytest.mark.parametrize(
    ('change', 'fault'),
    [
        (drop, 'keep_scores is missing'),
        (drop_what_only_the_notes_tell, 'torchvision_hard_nms_keep is missing'),
        (break_number, 'keep_scores[3] is recorded as nan'),
        (reshape, 'keep_scores has shape [298, 1], meta says [298]'),
        (shorten, 'keep_scores: shape [298], recorded [297]'),
        (move, 'keep_scores: abs 2e-05'),
        (swap, 'order of keep'),
        (forget_setting, "meta has no 'prune'"),
        (another_setting, 'FAIL keep'),
    ],
)
def test_faults(change: Callable[[dict, dict], None], fault: str, tmp_path: Path) -> None:
    arrays, meta = soft_nms_case()
    assert verify(write(tmp_path / 'h_right.npz', arrays, meta)).passed
    change(arrays, meta)
    outcome = verify(write(tmp_path / 'h_wrong.npz', arrays, meta))
    assert not outcome.passed
    assert fault in '\n'.join(outcome.failures()), outcome.failures()


def test_an_index_is_told(tmp_path: Path) -> None:
    arrays, meta = soft_nms_case()
    move(arrays, meta)
    assert ' at [7], recorded ' in verify(write(tmp_path / 'h.npz', arrays, meta)).failures()[0]


def test_names_do_not_matter_but_unknown_kinds_fail(tmp_path: Path) -> None:
    arrays, meta = soft_nms_case()
    assert verify(write(tmp_path / 'whatever.npz', arrays, meta)).passed
    outcome = verify(write(tmp_path / 'x.npz', dict(strange=np.zeros(2)), meta))
    assert not outcome.passed and 'unknown kind' in outcome.line()
    (tmp_path / 'damaged.npz').write_bytes(b'PK\x03\x04 cut off')
    outcome = verify(tmp_path / 'damaged.npz')
    assert not outcome.passed and 'cannot be read' in outcome.line()
    # the name tells what is missing where no array tells the kind
    outcome = verify(write(tmp_path / 'g_text.npz', dict(strange=np.zeros(2)), meta))
    assert 'caption_ids' in '\n'.join(outcome.failures())


def test_other_settings_come_from_the_notes(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(5)
    corner = torch.rand(60, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + 20], 1)
    scores, labels = torch.rand(60, generator=generator), torch.zeros(60, dtype=torch.long)
    options = dict(method='gaussian', sigma=0.2, iou_threshold=0.4)
    keep, kept = soft_nms(boxes, scores, labels, **options, min_score=0.1)
    arrays = dict(boxes=boxes, scores=scores, classes=labels, keep=keep, keep_scores=kept)
    arrays = {key: value.numpy() for key, value in arrays.items()}
    path = write(tmp_path / 'other.npz', arrays, dict(options, prune=0.1))
    assert verify(path).passed
    assert not verify(write(tmp_path / 'wrong.npz', arrays, dict(options, prune=0.2))).passed


def test_differences() -> None:
    recorded = np.array([[1.0, -4.0], [2.0, 0.0]])
    ours = recorded + [[0, 0], [0, 0.5]]
    found = compare('x', ours, recorded, 0.5)
    assert found.passed and (found.absolute, found.relative) == (0.5, 0.125)
    found = compare('x', ours, recorded, 0.1, 'relative')
    assert not found.passed and found.fault == '0.5 at [1, 1], recorded 0'
    assert not compare('x', ours * np.nan, recorded, 9).passed
    assert not compare('x', ours, recorded + np.inf, 9).passed
    assert not compare('x', ours[0], recorded, 9).passed
    assert 'at' not in compare('x', np.array(1.0), np.array(2.0), 0.5).fault


def test_tolerances_are_read_from_numbers_and_words(tmp_path: Path) -> None:
    limits = dict(a=0.5, b='1e-3 * max|grad|', c='exact')
    case = Case(write(tmp_path / 'x.npz', dict(a=np.zeros(1)), dict(thresholds=limits)))
    assert [case.limit(name, 7) for name in 'abcd'] == [0.5, 1e-3, 7, 7]
    with pytest.raises(CaseError, match="no 'weights_seed'"):
        case.seed  # noqa: B018


def detections(tmp_path: Path, **arrays: np.ndarray) -> Comparison:
    base = dict(
        det_boxes=np.array([[0, 0, 9, 9], [5, 5, 30, 30], [1, 1, 20, 20]], np.float32),
        det_scores=np.array([0.9, 0.7, 0.5], np.float32),
        det_classes=np.array([1, 0, 2]),
    )
    return Comparison(Case(write(tmp_path / 'x.npz', {**base, **arrays}, None)))


def instances(comparison: Comparison) -> InstanceData:
    arrays = comparison.case.arrays
    return InstanceData(
        bboxes=torch.tensor(arrays['det_boxes']),
        scores=torch.tensor(arrays['det_scores']),
        labels=torch.tensor(arrays['det_classes']),
    )


def agree(comparison: Comparison, found: InstanceData) -> bool:
    compare_detections(comparison, found, 'det_', 0.02, 1e-4)
    passed = comparison.passed
    comparison.differences.clear()
    return passed


def test_detections(tmp_path: Path) -> None:
    comparison = detections(tmp_path)
    assert agree(comparison, instances(comparison))
    assert not agree(comparison, instances(comparison)[:2])
    for name, change in (('bboxes', 0.1), ('scores', 1e-3), ('labels', 1)):
        found = instances(comparison)
        found[name][1] += change
        assert not agree(comparison, found), name
    found = instances(comparison)
    found.bboxes[1] = torch.nan
    assert not agree(comparison, found)
    assert not agree(comparison, instances(comparison)[:0])
    # two that nearly tie may change places
    comparison = detections(tmp_path, det_scores=np.array([0.9, 0.70005, 0.7], np.float32))
    found = instances(comparison)[[0, 2, 1]]
    found.scores = found.scores.sort(descending=True)[0]
    assert agree(comparison, found)


def test_one_exchanged_proposal_is_no_fault_of_the_detections(tmp_path: Path) -> None:
    """It takes a place in the list, and all scores behind it move."""
    side = torch.arange(60.0)[:, None]
    boxes = torch.cat([side, side, side + 20, side + 30], 1)
    scores = torch.linspace(0.9, 0.3, 60)
    arrays = dict(det_boxes=boxes.numpy(), det_scores=scores.numpy(), det_classes=np.zeros(60))
    comparison = Comparison(Case(write(tmp_path / 'x.npz', arrays, None)))
    labels = torch.zeros(60)
    labels[5] = 3  # another region took this place
    found = InstanceData(bboxes=boxes, scores=scores, labels=labels)

    def match(found: InstanceData, given: bool) -> bool:
        compare_detections(comparison, found, 'det_', 0.02, 1e-4, given_proposals=given)
        passed = comparison.passed
        comparison.differences.clear()
        return passed

    assert match(found, given=False) and not match(found, given=True)
    later = found[torch.arange(60) != 5]
    assert match(later, given=False) and not match(later, given=True)
    found.labels[20:24] = 3
    assert not match(found, given=False)


def test_proposals(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(200, 2, generator=generator) * 400
    boxes = torch.cat([corner, corner + 30], 1)
    logits = torch.linspace(5, -5, 200)
    arrays = dict(boxes=boxes.numpy(), logits=logits.numpy())
    comparison = Comparison(Case(write(tmp_path / 'x.npz', arrays, None)))

    def match(boxes: torch.Tensor, logits: torch.Tensor) -> bool:
        compare_proposals(comparison, boxes, logits, ('boxes', 'logits'), 1e-3)
        passed = comparison.passed
        comparison.differences.clear()
        return passed

    assert match(boxes, logits)
    swapped = torch.arange(200)
    swapped[[3, 4, 5]] = swapped[[4, 5, 3]]
    assert not match(boxes[swapped], logits)  # not nearly tied
    assert match(boxes[:199], logits[:199]) and not match(boxes[:190], logits[:190])
    assert not match(boxes + 1, logits) and not match(boxes, logits + 0.01)


def test_regions_of_an_image_without_objects(tmp_path: Path) -> None:
    arrays = dict(
        proposal_boxes0=np.array([[0, 0, 9, 9], [2, 2, 7, 8]], np.float32),
        proposal_classes0=np.array([5, 5]),
        proposal_gt_boxes0=np.zeros((2, 4), np.float32),
        gt_boxes0=np.zeros((0, 4), np.float32),
        gt_classes0=np.zeros(0, np.int64),
        text_emb_train=np.ones((5, 3), np.float32),
    )
    case = Case(write(tmp_path / 'd.npz', arrays, dict(num_train_classes=5)))
    sampled, objects = transfer_steps._sampled(case, 0, with_masks=False)
    assert len(objects) == 0 and len(sampled.pos_inds) == 0
    assert sampled.neg_inds.tolist() == [0, 1]
    case.arrays['proposal_classes0'] = np.array([5, 1])
    with pytest.raises(CaseError, match='not all among gt_boxes0'):
        transfer_steps._sampled(case, 0, with_masks=False)


def test_official_shapes_have_the_published_counts() -> None:
    """Counts of the official layout; those of backbones without heads."""
    for arch, count in (('RN50', 284), ('RN50x4', 434)):
        keys = official_shapes.detector_shapes(arch)
        assert sum(key.startswith('backbone.') for key in keys) == count
        assert len(official_shapes.text_tower_shapes(arch)) == 149
    for kind, count, options in (
        ('c4', 215, {}),
        ('fpn', 281, dict(num_fpn_levels=4)),
        ('fpn_lsj', 281 + 8 * 3, dict(num_fpn_levels=4, fpn_norm=True)),
    ):
        shapes = official_shapes.localizer_shapes(kind)
        assert sum(key.startswith('offline_backbone.') for key in shapes) == count
        assert set(shapes) == set(official_localizer_keys(**options))
    visual = official_shapes.detector_shapes('RN50')
    parameters = sum(
        int(np.prod(shape))
        for key, shape in visual.items()
        if key.startswith('backbone.') and not re.search(r'bn\d|downsample\.1', key)
    )
    assert round(parameters / 1e6, 2) == 38.26
