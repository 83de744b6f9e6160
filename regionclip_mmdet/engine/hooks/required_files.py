# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Missing files are missed before the first iteration, with the command that makes them."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.runner import Runner

from ...known_files import require_file
from ...models.roi_heads import RegionTextHead
from ...models.weights import WeightGuard
from ..robust.once import OnceHook
from ..robust.ranks import unwrapped_model


@HOOKS.register_module()
class RequiredFilesHook(OnceHook):
    """Refuses a run whose files are missing, and says how to make them.

    Models are built without any file, so that configs can be looked at. Before the first iteration
    this hook wants the checkpoint to be loaded, the concept pools of pretraining and, in tests, the
    weights that parts of the model name in ``init_cfg``; ``VocabularyCheckHook`` wants the
    vocabularies, datasets their annotation files. Part of the default runtime config.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Look for the checkpoint before the runner does.

        Raises:
            FileNotFoundError: There is none.
        """
        super().before_run(runner)
        if runner._load_from is not None:
            require_file(runner._load_from, 'checkpoint')

    def before_train(self, runner: Runner) -> None:
        """Look for concept pools.

        Raises:
            FileNotFoundError: One is missing.
        """
        for module in runner.model.modules():
            if isinstance(module, RegionTextHead):
                module.require_concepts()

    def before_test(self, runner: Runner) -> None:
        """Fill the parts that the checkpoint did not, which would otherwise happen at a batch.

        Raises:
            FileNotFoundError: A part's weights are missing.
            RuntimeError: A part names no weights and is random.
        """
        model = unwrapped_model(runner)
        if isinstance(model, WeightGuard):
            model.ensure_weights()

    before_val = before_test
