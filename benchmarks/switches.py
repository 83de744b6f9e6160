# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The speed-ups, each of which can be taken away to see what it brings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from unittest import mock

from mmdet.structures import DetDataSample
from open_clip.modified_resnet import AttentionPool2d as CLIPAttentionPool2d
from torch import Tensor, nn

from regionclip_mmdet.models.backbones import clip_resnet, folding
from regionclip_mmdet.models.detectors.teachers import SharedFrozenSteps
from regionclip_mmdet.models.localizers import folded_resnet
from regionclip_mmdet.models.region_encoders import AttentionPool2d, RegionAlign, RegionEncoder

Off = Callable[[nn.Module], AbstractContextManager]


def _full_attention_pool(model: nn.Module) -> AbstractContextManager:
    """Queries, keys, values and outputs of all tokens, as CLIP's own code computes them."""
    stack = ExitStack()
    for module in model.modules():
        if isinstance(module, AttentionPool2d):
            forward = partial(CLIPAttentionPool2d.forward, module)
            stack.enter_context(mock.patch.object(module, 'forward', forward))
    return stack


def _separate_norms(model: nn.Module) -> AbstractContextManager:
    """Frozen norms as layers of their own."""

    def conv_norm(x: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
        return norm(conv(x))

    stack = ExitStack()
    for user in (folding, clip_resnet, folded_resnet):
        stack.enter_context(mock.patch.object(user, 'conv_norm', conv_norm))
    return stack


def _channels_first(model: nn.Module) -> AbstractContextManager:
    """Torch's default memory format."""
    stack = ExitStack()
    for module in model.modules():
        if hasattr(module, 'channels_last'):
            stack.enter_context(mock.patch.object(module, 'channels_last', False))
    return stack


def _roi_align_by_operator(model: nn.Module) -> AbstractContextManager:
    """The operator of mmcv, also on a CPU."""
    return _without(model, RegionAlign, 'by_positions')


def _no_projection(model: nn.Module) -> AbstractContextManager:
    """All of layer4 on every region."""
    return _without(model, RegionEncoder, 'project_first')


def _without(model: nn.Module, kind: type, attribute: str) -> AbstractContextManager:
    stack = ExitStack()
    for module in model.modules():
        if isinstance(module, kind):
            stack.enter_context(mock.patch.object(module, attribute, False))
    return stack


def _localizer_at_work(model: nn.Module) -> AbstractContextManager:
    """Proposals that samples carry are not looked at: the localizer runs, if there is one."""
    if getattr(model, 'localizer', None) is None or not hasattr(model, 'sample_regions'):
        return nullcontext()

    def loss(batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]) -> dict:
        for sample in batch_data_samples:
            del sample.proposals
        return type(model).loss(model, batch_inputs, batch_data_samples)

    return mock.patch.object(model, 'loss', loss)


def _no_sharing(model: nn.Module) -> AbstractContextManager:
    """Student and teacher each run their own frozen steps."""
    return mock.patch.object(SharedFrozenSteps, 'count', lambda self, *backbones: 0)


def _all_regions(model: nn.Module) -> AbstractContextManager:
    """Every proposal is encoded, whatever its objectness."""
    return mock.patch.dict(model.roi_head.test_cfg, early_exit=False)


# Name -> what it is, the workloads it matters to, how to do without.
SWITCHES: dict[str, tuple[str, tuple[str, ...], Off]] = {
    'proposals': (
        "proposals from a file instead of the localizer's",
        ('pretraining',),
        _localizer_at_work,
    ),
    'pool': (
        'attention pool for its single query',
        ('inference', 'pretraining'),
        _full_attention_pool,
    ),
    'fold': ('frozen norms in the convolutions', ('inference', 'pretraining'), _separate_norms),
    'channels_last': ('memory format', ('inference', 'pretraining'), _channels_first),
    'roi_align': (
        'RoIAlign as weighted sums of positions, on a CPU',
        ('inference', 'pretraining'),
        _roi_align_by_operator,
    ),
    'project': (
        "layer4's linear first steps once on the map, on a CPU",
        ('inference', 'pretraining'),
        _no_projection,
    ),
    'shared': ('frozen steps of student and teacher once', ('pretraining',), _no_sharing),
    'early_exit': ('regions that cannot be detected left out', ('inference',), _all_regions),
}


def ladder(workload: str, without: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """What is switched on, rung by rung: nothing, then one more switch at a time.

    Args:
        workload: Key of ``WORKLOADS``.
        without: Switches to leave out.
    """
    names = [
        name
        for name, (_, workloads, _) in SWITCHES.items()
        if workload in workloads and name not in without
    ]
    return [tuple(names[:count]) for count in range(len(names) + 1)]


@contextmanager
def switched_off(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Run a model without some of its speed-ups.

    Args:
        model: The model.
        names: Keys of ``SWITCHES``.
    """
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(SWITCHES[name][2](model))
        yield
