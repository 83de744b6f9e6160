# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Settings of ``tools/test.py --tta``, those that a config lacks derived from its test pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from mmcv.transforms import RandomFlip, TestTimeAug
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS
from mmengine.config import Config, ConfigDict

from ..datasets.transforms import LoadRegionProposals
from ..datasets.transforms.unmoved import MOVES, SOURCES

# What leads from a view back to the image.
VIEW_KEYS = ('ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
NO_FLIP = dict(type='RandomFlip', prob=0.0)
FLIP = dict(type='RandomFlip', prob=1.0)


def use_views(cfg: Config) -> None:
    """Have a config tested with test-time augmentation.

    ``tta_model`` is ``RegionTTAModel`` unless the config says otherwise; ``tta_pipeline`` the test
    pipeline with, before it packs, the image as it is and flipped. In either pipeline proposals are
    moved with their view, and what the model must know of a view is kept.

    Args:
        cfg: Config with ``model`` and ``test_dataloader``; is changed.

    Raises:
        ValueError: There is no test pipeline.
    """
    datasets = list(_with_pipeline(cfg.get('test_dataloader') or {}))
    if not datasets:
        raise ValueError('--tta: the config has no test_dataloader with a pipeline.')
    for dataset in datasets:
        dataset['pipeline'] = views_of(cfg.get('tta_pipeline') or dataset['pipeline'])
    tta_model = cfg.get('tta_model') or dict(type='RegionTTAModel')
    cfg.model = ConfigDict({**tta_model, 'module': cfg.model})


def views_of(pipeline: Sequence[dict]) -> list[dict]:
    """A pipeline of several views, proposals included.

    Args:
        pipeline: A test pipeline, or one with mmdet's ``TestTimeAug``.
    """
    steps = deepcopy(list(pipeline))
    if not any(_is(transform, TestTimeAug) for transform in steps):
        steps[-1] = dict(type='TestTimeAug', transforms=[[NO_FLIP, FLIP], [steps[-1]]])
    keeps_logits = any(_is(t, LoadRegionProposals) for t in _flat(steps))
    flips = any(_is(transform, RandomFlip) for transform in _flat(steps))
    has_proposals, result = False, []
    for transform in steps:
        if not _is(transform, TestTimeAug):
            has_proposals |= _is(transform, SOURCES)
            result.append(_moved(transform) if has_proposals else transform)
            continue
        views = []
        for options in transform['transforms']:
            has_proposals |= any(_is(option, SOURCES) for option in options)
            options = [_moved(option) if has_proposals else option for option in options]
            if any(_is(option, PackDetInputs) for option in options):
                options = [_packing(option, keeps_logits) for option in options]
                if not flips:
                    views.append([NO_FLIP])
            views.append(options)
        result.append(dict(transform, transforms=views))
    return result


def _moved(transform: dict) -> dict:
    """A transform that proposals follow; wrappers that move them are left alone."""
    if not _is(transform, MOVES):
        return transform
    return dict(type='MoveProposals', transforms=[transform])


def _packing(transform: dict, keeps_logits: bool) -> dict:
    """The packing transform with what is known of a view and of its proposals."""
    if not _is(transform, PackDetInputs):
        return transform
    default = inspect.signature(_class(transform)).parameters['meta_keys'].default
    keys = tuple(transform.get('meta_keys', default))
    keys += tuple(key for key in VIEW_KEYS if key not in keys)
    changed = dict(transform, meta_keys=keys)
    if keeps_logits and _class(transform) is PackDetInputs:
        changed['type'] = 'PackRegionInputs'
    return changed


def _with_pipeline(config: Any) -> Iterator[dict]:
    """Datasets with a pipeline of their own, inside wrappers, too."""
    if isinstance(config, dict):
        if config.get('pipeline'):
            yield config
        for value in config.values():
            if isinstance(value, (dict, list)):
                yield from _with_pipeline(value)
    elif isinstance(config, list):
        for item in config:
            yield from _with_pipeline(item)


def _flat(transforms: Any) -> Iterator[dict]:
    """All transforms of a pipeline, those inside others included."""
    if isinstance(transforms, dict):
        yield transforms
        transforms = transforms.get('transforms', ())
    if isinstance(transforms, (list, tuple)):
        for item in transforms:
            yield from _flat(item)


def _class(transform: dict) -> Any:
    kind = transform.get('type')
    return TRANSFORMS.get(kind) if isinstance(kind, str) else kind


def _is(transform: dict, kinds: type | tuple[type, ...]) -> bool:
    kind = _class(transform)
    return inspect.isclass(kind) and issubclass(kind, kinds)
