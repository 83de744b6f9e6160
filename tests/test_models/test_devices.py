# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A model's images go where its weights go, by whatever way; seen on torch's device without memory.

mmengine's data preprocessor brings images to a device of its own, which ``nn.Module.to`` of what
holds it does not change.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
from collections.abc import Callable

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS
from mmengine.model import BaseModel, ExponentialMovingAverage
from torch import nn

import regionclip_mmdet
from helpers import tiny_models
from regionclip_mmdet.models.localizers import CLIP_MEAN, CLIP_STD
from regionclip_mmdet.pretraining import ProposalMaker


def build(kind: str) -> BaseModel:
    preprocessor = DetDataPreprocessor(mean=CLIP_MEAN, std=CLIP_STD)
    if kind == 'ProposalMaker':
        teacher = dict(backbone=tiny_models.backbone(), region_encoder=tiny_models.encoder())
        cfg = dict(type=DetDataPreprocessor, mean=CLIP_MEAN, std=CLIP_STD)
        return ProposalMaker(tiny_models.localizer(), cfg, teacher)
    configs = dict(
        OpenVocabularyRCNN=tiny_models.detector_config,
        RegionCLIP=tiny_models.regionclip_config,
        ImageTextCLIP=lambda: dict(
            type='ImageTextCLIP',
            arch=tiny_models.ARCH,
            text=dict(context_length=8, vocab_size=49408, width=16, heads=2, layers=1),
        ),
    )
    return MODELS.build(dict(configs[kind](), data_preprocessor=preprocessor))


MODEL_KINDS = ('OpenVocabularyRCNN', 'RegionCLIP', 'ImageTextCLIP', 'ProposalMaker')
# what is moved, and which model within has then moved
WAYS: dict[str, Callable[[BaseModel], nn.Module]] = {
    'to': lambda model: model.to('meta'),
    'to with a type': lambda model: model.to('meta', torch.float16),
    'to_empty': lambda model: model.to_empty(device='meta'),
    'copy': lambda model: copy.deepcopy(model).to('meta'),
    'copy of moved': lambda model: copy.deepcopy(model.to('meta')),
    'wrapped': lambda model: nn.Sequential(model).to('meta')[0],
    'average': lambda model: ExponentialMovingAverage(model, device='meta').module,
    'average, moved': lambda model: ExponentialMovingAverage(model).to('meta').module,
}


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('kind', MODEL_KINDS)
def test_images_go_where_the_weights_go(kind: str, way: str) -> None:
    model = WAYS[way](build(kind))
    preprocessor = model.data_preprocessor
    assert {tensor.device.type for tensor in model.parameters()} == {'meta'}
    assert {tensor.device.type for tensor in model.buffers()} == {'meta'}
    assert preprocessor.device.type == 'meta'
    assert preprocessor.cast_data(torch.zeros(1)).device.type == 'meta'


def test_types_alone_move_nothing() -> None:
    model = build('OpenVocabularyRCNN')
    for change in (model.half, model.float, model.double, model.bfloat16):
        change()
        assert model.data_preprocessor.device == torch.device('cpu')


def test_every_holder_of_a_preprocessor_is_one_of_mmengines_models() -> None:
    """A plain module would leave its images behind; new ones are found here."""
    holders = []
    for _, name, _ in pkgutil.walk_packages(regionclip_mmdet.__path__, 'regionclip_mmdet.'):
        try:
            module = importlib.import_module(name)
        except ImportError:  # of optional parts
            continue
        for found in vars(module).values():
            if not (inspect.isclass(found) and issubclass(found, nn.Module)):
                continue
            if (
                found.__module__ == name
                and 'data_preprocessor' in inspect.signature(found).parameters
            ):
                holders.append(found)
    # the views of RegionTTAModel go through the preprocessor of the model inside
    assert {holder.__name__ for holder in holders} == {*MODEL_KINDS, 'RegionTTAModel'}
    assert all(issubclass(holder, BaseModel) for holder in holders)
