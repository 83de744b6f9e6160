# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Access to recorded cases of the official code (``tests/data/golden``) and their weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from golden_weights import fill_tensors
from torch import Tensor, nn

from regionclip_mmdet.checkpoints.official import convert_official_recognizer, official_key
from regionclip_mmdet.checkpoints.official_localizer import (
    convert_official_localizer,
    official_localizer_keys,
    rename_official_localizer_key,
)

LOCALIZERS = {
    'c4': {},
    'fpn': dict(num_fpn_levels=4),
    'fpn_lsj': dict(num_fpn_levels=4, fpn_norm=True),
}
FOLDER = Path(__file__).parent / 'data' / 'golden'
CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
CLIP_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


class GoldenCase:
    """Inputs, outputs and notes of one recorded case.

    Args:
        name: File name without ``.npz``.
        with_meta: Whether the file has notes; a file of shared inputs has none.
    """

    def __init__(self, name: str, with_meta: bool = True) -> None:
        self.arrays = np.load(FOLDER / f'{name}.npz')
        self.meta = json.loads(str(self.arrays['meta'])) if with_meta else {}

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    def batch(self, names: list[str]) -> Tensor:
        """Images (uint8, RGB, CHW or HWC) normalised for CLIP and zero padded to one size."""
        images = [self[n] if len(self[n]) == 3 else self[n].permute(2, 0, 1) for n in names]
        images = [(image.float() / 255 - CLIP_MEAN) / CLIP_STD for image in images]
        height, width = (max(i.shape[d] for i in images) for d in (1, 2))
        batch = torch.zeros(len(images), 3, height, width)
        for row, image in zip(batch, images, strict=True):
            row[:, : image.shape[1], : image.shape[2]] = image
        return batch

    def load_weights(self, model: nn.Module, prefix: str = '') -> None:
        """Fill a model with the case's weights, through the official key names.

        Args:
            model: One of our models or parts.
            prefix: Where the part sits in a whole model, e.g. ``'backbone.'``.
        """
        shapes = {
            official_key(prefix + key): tuple(value.shape)
            for key, value in model.state_dict().items()
            if 'classifier.' not in key and not key.startswith('localizer.')
        }
        state = convert_official_recognizer(fill_tensors(shapes, self.meta['weights_seed']))
        state = {key[len(prefix) :]: value for key, value in state.items()}
        result = model.load_state_dict(state, strict=False)
        elsewhere = ('classifier.', 'localizer.')
        left = [k for k in result.missing_keys if not any(part in k for part in elsewhere)]
        assert not left and not result.unexpected_keys, (left, result.unexpected_keys)

    def load_localizer(self, localizer: nn.Module, kind: str) -> None:
        """Fill an ``RPNLocalizer`` with the case's weights.

        Args:
            localizer: Ours.
            kind: Key of ``LOCALIZERS``.
        """
        names = {
            rename_official_localizer_key(key).removeprefix('localizer.'): key
            for key in official_localizer_keys(**LOCALIZERS[kind])
        }
        own = {k: v for k, v in localizer.state_dict().items() if 'num_batches' not in k}
        assert own.keys() == names.keys()
        official = fill_tensors(
            {names[key]: tuple(value.shape) for key, value in own.items()},
            self.meta['weights_seed'],
        )
        for override in self.meta.get('weight_overrides', ()):
            official[override['key']] += override['add']
        state = convert_official_localizer(official)
        localizer.load_state_dict(
            {k.removeprefix('localizer.'): v for k, v in state.items()}, False
        )


def max_abs(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference."""
    assert a.shape == b.shape, (a.shape, b.shape)
    return float((a - b).detach().abs().max())


def rel(a: Tensor, b: Tensor) -> float:
    """Relative difference of two scalars."""
    a, b = float(a.detach()), float(b)
    return abs(a - b) / abs(b)
