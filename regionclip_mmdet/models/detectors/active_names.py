# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What mmdet's tools set on a model, kept true: names that it shows, texts that it is given."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmdet.registry import TRANSFORMS
from mmdet.visualization.palette import get_palette
from mmengine.config import Config, ConfigDict
from torch import nn

# What DetInferencer and inference_detector hand to the pipeline beside an image.
TEXT_KEYS = ('text', 'custom_entities', 'tokens_positive', 'stuff_text')


class ActiveNames(nn.Module):
    """Mixin for detectors with a vocabulary of their own: ``dataset_meta`` and ``cfg``.

    ``init_detector`` and ``DetInferencer`` set ``dataset_meta`` to the names of the checkpoint's
    training set, or to COCO's 80; labels are numbers of the testing vocabulary. So its ``classes``
    are read from the model, whoever sets it. It is one dict for good: a visualizer that was given
    it follows, too.

    ``cfg`` is set by both before they build the test pipeline from it. Its last transform would
    drop the texts that come with an image; it is told to keep them.
    """

    _meta: dict[str, Any]

    @property
    def shown_names(self) -> tuple[str, ...]:
        """Names that labels number; none as long as there is no vocabulary."""
        raise NotImplementedError

    @property
    def dataset_meta(self) -> dict[str, Any]:
        """``classes``, the active names, and ``palette``: colors enough for them, or 'random'."""
        meta = self.__dict__.setdefault('_meta', {})
        if names := self.shown_names:
            meta['classes'] = names
        palette = meta.get('palette')
        if palette is None or not _is_enough(palette, len(meta.get('classes', ()))):
            meta['palette'] = 'random'
        return meta

    @dataset_meta.setter
    def dataset_meta(self, value: Mapping[str, Any] | None) -> None:
        meta = self.__dict__.setdefault('_meta', {})
        given = dict(value or {})  # it may be the dict itself
        meta.clear()
        meta.update(given)
        _ = self.dataset_meta  # its names, at once

    @property
    def cfg(self) -> Config | ConfigDict:
        """The config the model was built from."""
        if '_cfg' not in self.__dict__:
            raise AttributeError('cfg')
        return self.__dict__['_cfg']

    @cfg.setter
    def cfg(self, value: Config | ConfigDict) -> None:
        self.__dict__['_cfg'] = value
        for transform in _packers((value or {}).get('test_dataloader')):
            keys = transform.get('meta_keys') or _default_keys(transform['type'])
            transform['meta_keys'] = (*keys, *(key for key in TEXT_KEYS if key not in keys))


def _is_enough(palette: str | list | tuple, number: int) -> bool:
    """Whether mmdet finds so many colors in a palette, which it knows by name or by value."""
    if isinstance(palette, str) and palette == 'random':
        return True
    try:
        get_palette(palette, number)
    except Exception:  # whatever a wrong one leads to
        return False
    return True


def _packers(config: Any) -> Iterator[dict]:
    """Transforms of a loader's pipelines that make the data sample."""
    if isinstance(config, Mapping):
        if 'meta_keys' in config or _default_keys(config.get('type')) is not None:
            yield config
            return
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for item in config:
            yield from _packers(item)


def _default_keys(kind: Any) -> tuple[str, ...] | None:
    """Default of a transform's argument ``meta_keys``; None if it has none, or is none."""
    if isinstance(kind, str):
        if not kind.rpartition('.')[2].startswith('Pack'):
            return None
        kind = TRANSFORMS.get(kind)
    if not inspect.isclass(kind):
        return None
    parameter = inspect.signature(kind).parameters.get('meta_keys')
    return None if parameter is None else tuple(parameter.default or ())
