# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Weight initialisers that load strictly and say where weights come from."""

from __future__ import annotations

from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

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
    ``localizer.*`` keys serves too.

    Args:
        checkpoint: File or URL, as mmengine's loader takes them.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Load strictly.

        Raises:
            FileNotFoundError: There is no such file; says how to make it.
            RuntimeError: A tensor of the localizer is missing in the file or has another shape.
        """
        require_file(self.checkpoint, 'localizer')
        state = CheckpointLoader.load_checkpoint(self.checkpoint, map_location='cpu')
        state = state.get('state_dict', state)
        nested = {k[len('localizer.') :]: v for k, v in state.items() if k.startswith('localizer.')}
        state = _rpn_head_keys(nested or state)
        own = {k: v for k, v in module.state_dict().items() if 'num_batches_tracked' not in k}
        report = LoadReport.compare(
            type(module).__name__, own, state, ('backbone', 'neck', 'rpn_head')
        )
        if report.missing or report.mismatched:
            wrong = sum([*report.missing.values(), *report.mismatched.values()], [])
            raise RuntimeError(
                f'{self.checkpoint} does not fill the localizer: {len(wrong)} tensors missing or '
                f'of another shape, e.g. {", ".join(wrong[:3])}.\n{report}'
            )
        module.load_state_dict({k: state[k] for k in own}, strict=False)
        # mmengine initialises a module's children after the module itself: without this mark,
        # backbone and head would at once overwrite what was loaded with their own random weights
        for part in module.modules():
            if part is not module and isinstance(part, BaseModule):
                part.is_init = True
        print_log(f'Localizer: {len(own)} of {len(own)} tensors from {self.checkpoint}', 'current')
        module.weights_source = self.checkpoint


def _rpn_head_keys(state: dict) -> dict:
    """Names as in two-stage detectors; mmdet's ``RPN``, a single-stage one, has ``bbox_head``."""
    if any(key.startswith('rpn_head.') for key in state):
        return state
    old = 'bbox_head.rpn_'
    return {
        key.replace('bbox_head.', 'rpn_head.', 1) if key.startswith(old) else key: value
        for key, value in state.items()
    }
