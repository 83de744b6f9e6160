# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Damaged annotation files: a case succeeds, or ends in one error that names the file."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzz.damaged_json import damaged
from fuzz.time_limit import time_limit
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

from regionclip_mmdet.datasets.preparation import (
    OVCocoSplit,
    prepare_ov_coco_train,
    prepare_ov_coco_val,
    prepare_ov_lvis_train,
    prepare_ov_lvis_val,
    read_image_ids,
)
from regionclip_mmdet.evaluation import (
    OVCocoAPMetric,
    OVLVISMetric,
    ProposalRecallMetric,
)

NAMES = ('cat', 'dog', 'bird')
META = dict(classes=NAMES, base_classes=NAMES[:2], novel_classes=NAMES[2:])
CASES = int(os.environ.get('FUZZ_CASES', '60'))  # of each target
# Of ours; KeyError, AttributeError, AssertionError and so on are somebody's surprise.
OURS = (ValueError, TypeError, OSError)


def instances() -> dict[str, Any]:
    """Three images with two objects each, as COCO and LVIS have them."""
    images, annotations = [], []
    for i in range(3):
        images.append(
            dict(
                id=i + 1,
                file_name=f'{i}.jpg',
                coco_url=f'http://images.cocodataset.org/val2017/{i}.jpg',
                height=60,
                width=80,
                neg_category_ids=[3],
                not_exhaustive_category_ids=[],
            )
        )
        for k in range(2):
            x, y = 5 + 30 * k, 10
            mask: Any = [[x, y, x + 20, y, x + 20, y + 30, x, y + 30]]
            if i == 2:
                mask = dict(size=[60, 80], counts=[x * 60 + y, 30, 60 * 80 - x * 60 - y - 30])
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i + 1,
                    category_id=k + 1,
                    bbox=[x, y, 20, 30],
                    area=600,
                    iscrowd=0,
                    segmentation=mask,
                )
            )
    categories = [
        dict(id=k + 1, name=name, frequency=f, image_count=3)
        for k, (name, f) in enumerate(zip(NAMES, 'fcr', strict=True))
    ]
    return dict(images=images, annotations=annotations, categories=categories)


def captions() -> dict[str, Any]:
    return dict(
        images=[dict(id=i, file_name=f'{i}.jpg', height=60, width=80) for i in range(3)],
        annotations=[dict(id=i, image_id=i // 2, caption=f'number {i}') for i in range(6)],
    )


def samples() -> list[dict]:
    """Perfect detections of the sound file, with masks."""
    boxes = torch.tensor([[5.0, 10, 25, 40], [35, 10, 55, 40]])
    masks = torch.zeros(2, 60, 80, dtype=torch.bool)
    masks[0, 10:40, 5:25] = masks[1, 10:40, 35:55] = True
    found = dict(bboxes=boxes, labels=torch.tensor([0, 1]), scores=torch.tensor([0.9, 0.8]))
    return [
        dict(
            img_id=i + 1,
            img_path=f'{i}.jpg',
            ori_shape=(60, 80),
            pred_instances=dict(found, masks=masks),
        )
        for i in range(3)
    ]


def evaluated(make: Callable[[str], Any]) -> Callable[[str], None]:
    """Builds a metric of a file and lets it evaluate; its results must be numbers."""

    def run(path: str) -> None:
        metric = make(path)
        metric.dataset_meta = META
        metric.process({}, samples())
        results = metric.evaluate(3)
        assert results and all(-1 <= v <= 1 and math.isfinite(v) for v in results.values())

    return run


def with_shape(item: dict) -> dict:
    """What loading the image would add."""
    return dict(item, ori_shape=(item['height'], item['width']))


def loaded(config: dict, masks: bool = False) -> Callable[[str], None]:
    """Builds a dataset of a file and loads every item, boxes and masks included."""
    pipeline = [with_shape, dict(type='LoadAnnotations', with_bbox=True, with_mask=masks)]

    def run(path: str) -> None:
        if 'Image' not in config['type']:
            built = DATASETS.build(dict(config, ann_file=path, pipeline=pipeline))
        else:
            built = DATASETS.build(dict(config, ann_file=path))
        assert len(built)
        for number in range(len(built)):
            item = built.prepare_data(number)
            assert isinstance(item['img_path'], str)

    return run


COCO = dict(type='OVCocoDataset', data_prefix=dict(img='im'), metainfo=META)
LVIS = dict(type='OVLVISDataset', data_prefix=dict(img='im'), metainfo=META)
SHAPES = dict(type='ShapesWorldDataset', data_prefix=dict(img='im'), metainfo=dict(META))
TARGETS: dict[str, tuple[Callable[[], Any], str, Callable[[str], None]]] = {
    'OVCocoDataset': (instances, 'a.json', loaded(COCO)),
    'OVCocoDataset with masks': (instances, 'a.json', loaded(COCO, masks=True)),
    'OVLVISDataset': (instances, 'a.json', loaded(LVIS)),
    'ShapesWorldDataset': (instances, 'a.json', loaded(SHAPES)),
    'OVCocoAPMetric': (instances, 'a.json', evaluated(OVCocoAPMetric)),
    'OVCocoAPMetric of masks': (
        instances,
        'a.json',
        evaluated(lambda path: OVCocoAPMetric(path, ['bbox', 'segm'])),
    ),
    'OVLVISMetric': (instances, 'a.json', evaluated(OVLVISMetric)),
    'OVLVISMetric of masks': (
        instances,
        'a.json',
        evaluated(lambda path: OVLVISMetric(path, 'segm')),
    ),
    'ProposalRecallMetric': (instances, 'a.json', evaluated(ProposalRecallMetric)),
    'ImageTextDataset': (captions, 'a.json', loaded(dict(type='ImageTextDataset'))),
    'ImageTextDataset of lines': (
        lambda: dict(image='a.jpg', captions=['x', 'y'], id=3, height=60, width=80),
        'a.jsonl',
        loaded(dict(type='ImageTextDataset')),
    ),
    'prepare_ov_coco': (
        instances,
        'a.json',
        lambda path: [
            prepare(path, Path(path).parent, OVCocoSplit(('cat', 'dog'), ('bird',)), any_size=True)
            for prepare in (prepare_ov_coco_train, prepare_ov_coco_val)
        ],
    ),
    'prepare_ov_lvis': (
        instances,
        'a.json',
        lambda path: [
            prepare(path, Path(path).parent, any_size=True)
            for prepare in (prepare_ov_lvis_train, prepare_ov_lvis_val)
        ],
    ),
    'read_image_ids': (
        lambda: dict(images=[dict(id=i) for i in range(4)]),
        'a.json',
        read_image_ids,
    ),
    'OVCocoSplit': (lambda: dict(base=['cat'], novel=['dog', 'cow']), 'a.json', OVCocoSplit.read),
}


def outcome(run: Callable[[str], None], path: Path) -> str:
    """'success', 'refused', or what should not happen."""
    try:
        with time_limit(path), contextlib.redirect_stdout(io.StringIO()):
            run(str(path))
    except OURS as error:
        if path.name not in str(error):
            return f'{type(error).__name__}: {error}'
        return 'refused'
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return 'success'


@pytest.mark.parametrize('target', TARGETS)
def test_sound_files(target: str, tmp_path: Path) -> None:
    init_default_scope('mmdet')
    make, name, run = TARGETS[target]
    (tmp_path / name).write_text(json.dumps(make()))
    run(str(tmp_path / name))


@pytest.mark.slow
@pytest.mark.parametrize('target', TARGETS)
def test_damaged_files(target: str, tmp_path: Path) -> None:
    init_default_scope('mmdet')
    make, name, run = TARGETS[target]
    content, found, surprises = make(), Counter(), []
    for seed in range(CASES):
        rng = np.random.default_rng([seed, len(target)])
        path = tmp_path / f'{seed}_{name}'
        path.write_bytes(damaged(rng, content, 'segmentation' if 'masks' in target else None))
        ending = outcome(run, path)
        found[ending if ending in ('success', 'refused') else 'surprise'] += 1
        if ending not in ('success', 'refused'):
            surprises.append(f'{seed}: {ending}\n    {path.read_bytes()[:2000]!r}')
    assert not surprises, '\n'.join(surprises[:10])
    assert found['refused'] > CASES / 4
