# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The view of an image that is computed on is the training pipeline's without chance."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from regionclip_mmdet import config_path
from regionclip_mmdet.pretraining import fixed_view

LOAD = dict(type='LoadImageChecked')
PACK = dict(type='PackDetInputs')


def kinds(pipeline: list[dict]) -> list[str]:
    return [transform['type'] for transform in pipeline]


@pytest.mark.parametrize('name', ['coco_captions_image_text', 'cc3m_shards_image_text'])
def test_of_the_configs(name: str) -> None:
    pipeline = Config.fromfile(config_path(f'_base_/datasets/{name}.py')).train_pipeline
    view = fixed_view(pipeline)
    assert view[:2] == [pipeline[0], pipeline[1]]
    assert kinds(view) == ['LoadImageChecked', 'ResizeShortestEdgeTruncated', 'PackDetInputs']


def test_wrapped_resizing_is_found() -> None:
    resize = dict(type='Resize', scale=(10, 20), keep_ratio=True)
    moves = dict(type='MoveProposals', transforms=[resize, dict(type='RandomFlip', prob=0.5)])
    view = fixed_view([LOAD, dict(type='LoadRegionProposals'), moves, PACK])
    assert view[:2] == [LOAD, resize] and len(view) == 3


def test_another_size() -> None:
    view = fixed_view([LOAD, dict(type='RandomResize', scale=(9, 9)), PACK], (640, 1000))
    assert (view[1]['scale'], view[1]['max_size']) == (640, 1000)
    assert kinds(view) == ['LoadImageChecked', 'ResizeShortestEdgeTruncated', 'PackDetInputs']


@pytest.mark.parametrize(
    ('transforms', 'message'),
    [
        ([LOAD, dict(type='RandomChoiceResize', scales=[1, 2])], r'--resize 800 1333'),
        ([LOAD, dict(type='RandomCrop', crop_size=(9, 9))], 'RandomCrop .* is not known here'),
        ([PACK], 'has 0 transforms that load an image'),
    ],
)
def test_what_cannot_be_fixed_is_refused(transforms: list[dict], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fixed_view(transforms)
