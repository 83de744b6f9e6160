# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Weight initializers that load strictly and say where weights come from."""

from __future__ import annotations

from urllib.error import URLError

from mmengine.logging import print_log
from mmengine.model import BaseModule, PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from ...checkpoints.state_dicts import refuse_non_finite
from ...checkpoints.translation import into_our_names
from ...known_files import require_file
from .report import LoadReport


@WEIGHT_INITIALIZERS.register_module()
class RandomWeights:
    """Keep the random weights of a part, on purpose: ``init_cfg=dict(type='RandomWeights')``."""

    def __call__(self, module: nn.Module) -> None:
        """Mark the module as filled."""
        module.weights_source = 'random, as the config asks'


@WEIGHT_INITIALIZERS.register_module()
class LocalizerPretrained:
    """Fill an ``RPNLocalizer`` with ``backbone``, ``neck`` and ``rpn_head`` of an mmdet checkpoint.

    Checkpoints of mmdet's ``RPN`` (which calls its head ``bbox_head``), ``FasterRCNN`` and
    ``MaskRCNN`` have these keys; RoI heads are ignored. A detector's checkpoint with
    ``localizer.*`` keys serves too, and so do official files with a localizer.

    Args:
        checkpoint: File or URL, as mmengine's loader takes them.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Load strictly.

        Raises:
            FileNotFoundError: There is no such file; says how to make it.
            ConnectionError: It could not be downloaded; says what to do.
            RuntimeError: A tensor of the localizer is missing in the file or has another shape.
            ValueError: One is NaN or infinite.
        """
        require_file(self.checkpoint, 'localizer')
        state = dict(_state_dict(self.checkpoint))
        into_our_names(state, self.checkpoint)
        state = _rpn_head_keys(_below('localizer.', state) or state)
        number = _fill(module, state, ('backbone', 'neck', 'rpn_head'), self.checkpoint)
        print_log(f'Localizer: {number} of {number} tensors from {self.checkpoint}', 'current')


@WEIGHT_INITIALIZERS.register_module()
class PartPretrained:
    """Fills a part completely or not at all, where mmengine's ``Pretrained`` loads what fits.

    ``WeightGuard`` puts it in place of ``Pretrained`` where a part of a model has that.

    Args:
        checkpoint: File or URL, as mmengine's loader takes them.
        prefix: Key prefix of the part in the file, e.g. ``'backbone.'``.
        map_location: As in mmengine; the part stays where it is.
    """

    def __init__(
        self, checkpoint: str, prefix: str | None = None, map_location: str = 'cpu'
    ) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location

    def __call__(self, module: nn.Module) -> None:
        """Load strictly.

        Raises:
            FileNotFoundError: There is no such file; says how to make it.
            ConnectionError: It could not be downloaded; says what to do.
            RuntimeError: A tensor of the part is missing in the file or has another shape.
            ValueError: One is NaN or infinite.
        """
        require_file(self.checkpoint, 'weights')
        state = _state_dict(self.checkpoint, self.map_location)
        if self.prefix is not None:
            state = _below(self.prefix.rstrip('.') + '.', state)
        number = _fill(module, state, (), self.checkpoint, self.prefix)
        name = type(module).__name__
        print_log(f'{name}: {number} of {number} tensors from {self.checkpoint}', 'current')


def use_strict_pretrained(module: nn.Module) -> None:
    """Replace mmengine's ``Pretrained`` in a part's ``init_cfg`` by ``PartPretrained``."""
    configs = getattr(module, 'init_cfg', None)
    if not configs:
        return

    def strict(config: dict) -> dict:
        stock = config.get('type') in ('Pretrained', PretrainedInit)
        return {**config, 'type': 'PartPretrained'} if stock else config

    several = isinstance(configs, (list, tuple))
    module.init_cfg = [strict(config) for config in configs] if several else strict(configs)


def _state_dict(checkpoint: str, map_location: str = 'cpu') -> dict:
    try:
        content = CheckpointLoader.load_checkpoint(checkpoint, map_location=map_location)
    except URLError as error:
        raise ConnectionError(
            f'{checkpoint} could not be downloaded ({error.reason}). On a machine without a '
            'network, download it elsewhere and name the file in the init_cfg that names it: '
            '...init_cfg.checkpoint=FILE'
        ) from None
    return content.get('state_dict', content)


def _below(prefix: str, state: dict) -> dict:
    return {key[len(prefix) :]: v for key, v in state.items() if key.startswith(prefix)}


def _fill(
    module: nn.Module, state: dict, parts: tuple[str, ...], source: str, prefix: str | None = None
) -> int:
    """Load a module strictly, mark it and return its number of tensors."""
    own = {k: v for k, v in module.state_dict().items() if 'num_batches_tracked' not in k}
    name = type(module).__name__
    report = LoadReport.compare(name, own, state, parts)
    if report.missing or report.mismatched:
        wrong = sum([*report.missing.values(), *report.mismatched.values()], [])
        below = f" below prefix '{prefix}'" if prefix else ''
        raise RuntimeError(
            f'{source} does not fill {name}: {len(wrong)} of {len(own)} tensors missing{below} or '
            f'of another shape, e.g. {", ".join(wrong[:3])}. Nothing was loaded. Is it a '
            f'checkpoint of this architecture, and prefix that of the part in it?\n{report}'
        )
    refuse_non_finite({k: state[k] for k in own}, source)
    module.load_state_dict({k: state[k] for k in own}, strict=False)
    # mmengine initializes a module's children after the module itself: without this mark, they
    # would at once overwrite what was loaded with their own random weights
    for child in module.modules():
        if child is not module and isinstance(child, BaseModule):
            child.is_init = True
    module.weights_source = source
    return len(own)


def _rpn_head_keys(state: dict) -> dict:
    """Names as in two-stage detectors; mmdet's ``RPN``, a single-stage one, has ``bbox_head``."""
    if any(key.startswith('rpn_head.') for key in state):
        return state
    old = 'bbox_head.rpn_'
    return {
        key.replace('bbox_head.', 'rpn_head.', 1) if key.startswith(old) else key: value
        for key, value in state.items()
    }
