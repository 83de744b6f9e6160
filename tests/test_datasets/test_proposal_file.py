# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Precomputed proposals from a file to the model; what is refused."""

import json
import pickle
from collections import OrderedDict
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
import yaml
from mmengine.structures import InstanceData
from PIL import Image

from helpers import hostile_files
from regionclip_mmdet.datasets import (
    ImageTextDataset,
    LoadRegionProposals,
    PackRegionInputs,
    ShapesWorldDataset,
)
from regionclip_mmdet.datasets.proposal_content import read_content
from regionclip_mmdet.datasets.proposal_file import proposal_key
from regionclip_mmdet.models.localizers import get_proposals

BOXES = [[2.0, 4.0, 12.0, 14.0], [10.0, 5.0, 20.0, 25.0]]
# 40 x 30 pixels, doubled, mirrored: x -> 80 - 2x, y -> 2y
MOVED = [[56.0, 8.0, 76.0, 28.0], [40.0, 10.0, 60.0, 50.0]]
LOGITS = [-3.0, 20.5]
MOVES = dict(
    type='ProposalBroadcaster',
    transforms=[
        dict(type='Resize', scale=(80, 60), keep_ratio=True, backend='pillow'),
        dict(type='RandomFlip', prob=1.0),
    ],
)


def pipeline(**settings: object) -> list[dict]:
    return [
        dict(type='LoadImageFromFile', imdecode_backend='pillow'),
        dict(type='LoadRegionProposals', **settings),
        MOVES,
        dict(type='PickCaption'),
        dict(type='PackRegionInputs', meta_keys=('text', 'img_shape', 'flip')),
    ]


def write_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / 'im' / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (40, 30)).save(folder / 'im' / name)


def make(folder: Path, proposals: object, names: tuple = ('a.png',), **kwargs: object):
    """An image-text dataset with proposals that are written to a pickle first."""
    rows = [dict(image=n, caption=n, width=40, height=30) for n in names]
    (folder / 'c.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    if proposals is not None:
        (folder / 'p.pkl').write_bytes(pickle.dumps(proposals))
    return ImageTextDataset(
        **{
            **dict(ann_file='c.jsonl', data_root=str(folder), data_prefix=dict(img_path='im')),
            **dict(proposal_file='p.pkl', pipeline=pipeline()),
            **kwargs,
        }
    )


def entry(**fields: object) -> dict:
    return {'bboxes': np.array(BOXES), **fields}


def test_boxes_move_with_the_image_and_logits_reach_the_model(tmp_path: Path) -> None:
    write_images(tmp_path, 'a.png', 'b.png')
    proposals = {
        'im/b.png': InstanceData(
            bboxes=np.array(BOXES, dtype=np.float32),
            scores=np.array([0.1, 0.9], dtype=np.float32),
            objectness_logits=np.array(LOGITS, dtype=np.float32),
        ),
        'im/a.png': entry(bboxes=torch.tensor(BOXES[1:]), objectness_logits=[1.0]),
        'im/other.png': 'of an image that is not in the dataset',
    }
    dataset = make(tmp_path, proposals, ('a.png', 'b.png'))
    samples = [dataset[i]['data_samples'] for i in range(2)]
    assert [s.text for s in samples] == ['a.png', 'b.png'] and samples[1].flip
    a, b = get_proposals(None, torch.zeros(2, 3, 60, 80), samples)
    torch.testing.assert_close(b.bboxes, torch.tensor(MOVED))
    torch.testing.assert_close(b.scores, torch.tensor([0.1, 0.9]))
    assert b.objectness_logits.tolist() == LOGITS
    torch.testing.assert_close(a.bboxes, torch.tensor(MOVED[1:]))
    assert a.objectness_logits.tolist() == [1.0] and a.scores.tolist() == [0.0]
    assert b.objectness_logits.dtype == b.bboxes.dtype == torch.float32


def test_json_files_and_images_without_proposals(tmp_path: Path) -> None:
    write_images(tmp_path, 'a.png', 'b.png')
    content = {'im/a.png': {'bboxes': BOXES, 'scores': [0.5, 0.25]}, 'im/b.png': {'bboxes': []}}
    (tmp_path / 'p.json').write_text(json.dumps(content))
    dataset = make(tmp_path, None, ('a.png', 'b.png'), proposal_file='p.json')
    first, second = (dataset[i]['data_samples'].proposals for i in range(2))
    torch.testing.assert_close(first.bboxes, torch.tensor(MOVED))
    assert first.scores.tolist() == [0.5, 0.25] and 'objectness_logits' not in first
    assert second.bboxes.shape == (0, 4) and second.scores.shape == (0,)


def test_the_best_boxes_are_kept_not_the_first() -> None:
    fields = dict(bboxes=np.array([*BOXES, [0, 0, 5, 5]]), scores=np.array([0.2, 0.1, 0.3]))
    load = LoadRegionProposals(num_max_proposals=2)
    kept = load({'proposals': dict(fields)})
    np.testing.assert_allclose(kept['proposals'], [[0, 0, 5, 5], BOXES[0]])
    np.testing.assert_allclose(kept['proposals_scores'], [0.3, 0.2])
    # logits, where given, decide: scores saturate
    kept = load({'proposals': dict(fields, objectness_logits=np.array([1.0, 30.0, 20.0]))})
    np.testing.assert_allclose(kept['proposals_scores'], [0.1, 0.3])
    np.testing.assert_allclose(kept['proposals_objectness_logits'], [30, 20])


def test_logits_from_scores() -> None:
    scores = np.array([0.5, 0.75, 1.0, 0.0], dtype=np.float32)
    proposals = dict(bboxes=np.zeros((4, 4), dtype=np.float32), scores=scores)
    load = LoadRegionProposals(logits_from_scores=True)
    logits = load({'proposals': dict(proposals)})['proposals_objectness_logits']
    # log(p / (1 - p)); the ends are the largest float32 below 1 and its mirror image
    np.testing.assert_allclose(logits, [0, np.log(3), 16.6355, -16.6355], rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match=r'x\.png have scores outside \[0, 1\]'):
        load({'img_path': 'x.png', 'proposals': dict(proposals, scores=scores + 1)})
    with pytest.raises(ValueError, match='no scores'):
        load({'proposals': dict(bboxes=np.zeros((1, 4)))})


def test_sizes_unknown_to_the_file_are_checked_on_the_image() -> None:
    results = {'img_path': 'x.png', 'ori_shape': (20, 40), 'proposals': entry()}
    with pytest.raises(ValueError, match=r'x\.png: 1 of 2 proposals .* 40 x 20 pixels'):
        LoadRegionProposals()(results)
    with pytest.raises(KeyError, match='proposal_file'):
        LoadRegionProposals()({'img_path': 'x.png'})


def test_packing_refuses_logits_of_other_boxes() -> None:
    results = {
        'proposals': np.zeros((1, 4), dtype=np.float32),
        'proposals_scores': np.zeros(1, dtype=np.float32),
        'proposals_objectness_logits': np.zeros(2, dtype=np.float32),
    }
    with pytest.raises(ValueError, match=r'1 proposals but 2 objectness logits'):
        PackRegionInputs(meta_keys=())(results)


def test_detection_datasets_read_the_same_file(scenes: Path, tmp_path: Path) -> None:
    content = json.loads((scenes / 'instances.json').read_text())
    rng = np.random.default_rng(0)
    proposals = {}
    for image in content['images']:
        low, high = rng.uniform(0, 60, (3, 2)), rng.uniform(61, 128, (3, 2))
        key = f'images/{image["file_name"]}'
        proposals[key] = dict(
            bboxes=np.hstack([low, high]).astype('f4'), objectness_logits=rng.normal(size=3)
        )
    path = tmp_path / 'p.pkl'
    path.write_bytes(pickle.dumps(proposals))
    moves = dict(type='Resize', scale=(256, 256), keep_ratio=True, backend='pillow')
    dataset = ShapesWorldDataset(
        data_root=str(scenes),
        ann_file='instances.json',
        data_prefix=dict(img='images/'),
        proposal_file=str(path),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadRegionProposals'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='ProposalBroadcaster', transforms=[moves]),
            dict(type='PackRegionInputs', meta_keys=('img_path',)),
        ],
    )
    for i in (0, 7):
        info, sample = dataset.get_data_info(i), dataset[i]['data_samples']
        expected = proposals[proposal_key(sample.img_path)]
        np.testing.assert_allclose(sample.proposals.bboxes, expected['bboxes'] * 2, rtol=1e-6)
        logits = sample.proposals.objectness_logits
        np.testing.assert_allclose(logits, expected['objectness_logits'], rtol=1e-6)
        gt = np.array([o['bbox'] for o in info['instances']])
        np.testing.assert_allclose(sample.gt_instances.bboxes.tensor, gt * 2)
    del proposals[next(iter(proposals))]
    path.write_bytes(pickle.dumps(proposals))
    with pytest.raises(ValueError, match=r'no proposals for 1 of 40 images'):
        ShapesWorldDataset(
            data_root=str(scenes),
            ann_file='instances.json',
            data_prefix=dict(img='images/'),
            proposal_file=str(path),
        )


@pytest.mark.parametrize(
    ('proposals', 'message'),
    [
        (
            {'a.png': entry()},
            r"no proposals for 1 of 1 images, e\.g\. 'im/a\.png'; .* like 'a\.png'",
        ),
        ([np.zeros((3, 5))], 'holds a list, as mmdet 2.x wrote them'),
        (3, 'must hold a mapping, not a int'),
        ({'im/a.png': np.zeros((3, 5))}, r"entry 'im/a\.png': must be dict\(.*, not ndarray"),
        ({'im/a.png': {'boxes': []}}, "without 'bboxes'"),
        (
            {'im/a.png': {'bboxes': np.zeros((3, 5))}},
            r'shape \(N, 4\), not \(3, 5\)\. Old \(N, 5\)',
        ),
        ({'im/a.png': {'bboxes': np.zeros(4)}}, r'shape \(N, 4\), not \(4,\)\.$'),
        ({'im/a.png': {'bboxes': [['x']]}}, 'bboxes is no array of numbers'),
        ({'im/a.png': entry(scores=[0.1])}, r'scores must have shape \(2,\)'),
        ({'im/a.png': entry(objectness_logits=[[1], [2]])}, r'logits must have .* not \(2, 1\)'),
        (
            {'im/a.png': entry(scores=[0.1, np.nan])},
            'scores of 1 of 2 proposals are not finite; the first is number 1: nan',
        ),
        ({'im/a.png': {'bboxes': [[0, 0, np.inf, 1]]}}, r'number 0: \[0\.0, 0\.0, inf, 1\.0\]'),
        ({'im/a.png': {'bboxes': [[9, 9, 4, 4]]}}, r'proposal 0 .*\(x1, y1, x2, y2\), not'),
        (
            {'im/a.png': {'bboxes': [BOXES[0], [0, 0, 80, 60]]}},
            r'1 of 2 proposals reach out of the image of 40 x 30 pixels .*number 1: .*original',
        ),
    ],
)
def test_bad_files_are_refused_at_construction(
    tmp_path: Path, proposals: object, message: str
) -> None:
    with pytest.raises(ValueError, match=rf'p\.pkl.*{message}'):
        make(tmp_path, proposals)


def test_boxes_may_end_one_pixel_outside(tmp_path: Path) -> None:
    edge = [[-1.0, -1.0, 41.0, 31.0]]
    assert len(make(tmp_path, {'im/a.png': {'bboxes': edge}})) == 1
    with pytest.raises(ValueError, match='reach out of'):
        make(tmp_path, {'im/a.png': {'bboxes': [[-1.5, 0, 4, 4]]}})


def test_keys_that_two_images_share_are_refused(tmp_path: Path) -> None:
    names = ('x/one/a.png', 'y/one/a.png')
    with pytest.raises(ValueError, match=r"x/one/a\.png and .*y/one/a\.png share .* 'one/a\.png'"):
        make(tmp_path, {'one/a.png': entry()}, names)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'p\.pkl does not exist.*data_root'):
        make(tmp_path, None)
    (tmp_path / 'p.pkl').write_bytes(b'no pickle')
    with pytest.raises(ValueError, match=r'p\.pkl cannot be read'):
        make(tmp_path, None)


CODE = 'for which code would (have to )?run'
YAML_CODE = [
    '!!python/object/apply:os.mkdir ["{0}"]',
    'im/a.png: !!python/object/apply:os.mkdir ["{0}"]',
    'im/a.png: {{bboxes: !!python/object/new:os.mkdir ["{0}"]}}',
    '? !!python/name:os.system ""\n: 1',
]


@pytest.mark.parametrize('ending', ['pkl', 'pickle', 'yaml', 'yml'])
def test_nothing_of_a_file_is_run(ending: str, tmp_path: Path) -> None:
    ran, path = tmp_path / 'ran', tmp_path / f'p.{ending}'
    trap = hostile_files.Trap(ran)
    pickles = [
        pickle.dumps(content, protocol)
        for protocol in (0, 2, 5)
        for content in (trap, {'im/a.png': trap}, {'im/a.png': {'bboxes': trap}}, {trap: 1})
    ]
    pickles += [
        pickle.dumps({'im/a.png': {'bboxes': np.array([trap])}}),
        hostile_files.global_pickle('posix', 'mkdir', str(ran)),
        b'c__builtin__\neval\n(Vopen("' + bytes(ran) + b'", "w")\ntR.',
        b"(S'" + bytes(ran) + b"'\niposix\nmkdir\n.",
    ]
    texts = [text.format(ran).encode() for text in YAML_CODE]
    for content in pickles if ending.startswith('p') else texts:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf'p\.{ending}'):
            make(tmp_path, None, proposal_file=path.name)
    assert not ran.exists()
    mmengine.load(path) if ending == 'pickle' else pickle.loads(pickles[0])
    assert ran.exists()  # the trap is one


def test_the_object_is_named(tmp_path: Path) -> None:
    trap = hostile_files.Trap(tmp_path / 'ran')
    with pytest.raises(ValueError, match=rf"p\.pkl, entry 'im/a\.png'.*posix\.mkdir, {CODE}"):
        make(tmp_path, {'im/a.png': {'bboxes': trap}})


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(protocol: int, tmp_path: Path) -> None:
    boxes = np.array(BOXES, dtype='>f8')
    content = OrderedDict()
    content['im/a.png'] = InstanceData(bboxes=np.asfortranarray(boxes), scores=torch.rand(2))
    content['im/b.png'] = dict(
        bboxes=torch.tensor(BOXES * 2)[1:3].half(),
        scores=[np.float32(0.5), 0.25],
        objectness_logits=(1, 2),
        others=(None, True, 10**30, b'bytes', {'a', 'b'}, np.array(['x', 'yz'])),
    )
    path = tmp_path / 'p.pkl'
    path.write_bytes(pickle.dumps(content, protocol))
    for data in (pickle.dumps(content, protocol), hostile_files.optimized(content, protocol)):
        path.write_bytes(data)
        dataset = make(tmp_path, None, ('a.png', 'b.png'))
        first, second = (dataset.get_data_info(i)['proposals'] for i in range(2))
        np.testing.assert_array_equal(first['bboxes'], np.array(BOXES, 'f4'))
        np.testing.assert_array_equal(first['scores'], content['im/a.png'].scores.numpy())
        np.testing.assert_array_equal(second['bboxes'], np.array(BOXES[::-1], 'f4'))
        np.testing.assert_array_equal(second['scores'], [0.5, 0.25])
        np.testing.assert_array_equal(second['objectness_logits'], [1, 2])
    found = read_content(str(path))['im/b.png']['others']
    expected = content['im/b.png']['others']
    assert found[:5] == expected[:5]
    np.testing.assert_array_equal(found[5], expected[5])


def test_yaml_files(tmp_path: Path) -> None:
    content = {'im/a.png': {'bboxes': BOXES, 'scores': [0.5, 0.25]}}
    (tmp_path / 'p.yaml').write_text(yaml.safe_dump(content))
    dataset = make(tmp_path, None, proposal_file='p.yaml')
    found = dataset.get_data_info(0)['proposals']
    np.testing.assert_array_equal(found['bboxes'], np.array(BOXES, 'f4'))
    np.testing.assert_array_equal(found['scores'], [0.5, 0.25])


BOMBS = dict(
    merges='a0: &a0 {x: 1}\n'
    + ''.join(f'a{i + 1}: &a{i + 1} {{<<: [{", ".join([f"*a{i}"] * 9)}]}}\n' for i in range(12)),
    laughs='a0: &a0 [1]\n'
    + ''.join(f'a{i + 1}: &a{i + 1} [{", ".join([f"*a{i}"] * 9)}]\n' for i in range(12)),
    nested='[' * 100_000,
    itself='im/a.png: &a {bboxes: *a}',
    digits=f'im/a.png: {"9" * 5000}',
)


@pytest.mark.parametrize('name', BOMBS)
def test_yaml_that_grows(name: str, tmp_path: Path) -> None:
    (tmp_path / 'p.yaml').write_text(BOMBS[name])
    with pytest.raises(ValueError, match=r'p\.yaml'):
        make(tmp_path, None, proposal_file='p.yaml')


@pytest.mark.parametrize(
    'content', [hostile_files.laughs(30), hostile_files.nested(100_000), b'\x80\x02', b'']
)
def test_pickles_that_grow_or_end(content: bytes, tmp_path: Path) -> None:
    (tmp_path / 'p.pkl').write_bytes(content)
    with pytest.raises(ValueError, match=r'p\.pkl cannot be read'):
        make(tmp_path, None)


def test_other_endings(tmp_path: Path) -> None:
    (tmp_path / 'p.txt').write_text('{}')
    with pytest.raises(ValueError, match=r'p\.txt cannot be read.*must end with \.pkl'):
        make(tmp_path, None, proposal_file='p.txt')
