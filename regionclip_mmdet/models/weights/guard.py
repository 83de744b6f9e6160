# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""No part of a model runs on random weights, and no checkpoint is half-loaded, unnoticed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from logging import WARNING

from mmengine.logging import print_log
from torch import Tensor, nn

from .report import LoadReport


class WeightGuard(nn.Module):
    """Mixin for detectors that accounts for the origin of every part's weights.

    A *part* is a sub-module named by its path, e.g. ``'localizer'``. Its ``weights_source`` says where
    its weights come from and is set by this project's initialisers, by a checkpoint, or by
    training. The guard acts in three places, all reached by mmengine's and mmdet's stock entry points:

    * loading a state dict (``Runner``, ``init_detector``): every key is accounted for by part, the
      report is logged, and a surprise raises before anything is changed;
    * ``ensure_weights()``, called by ``loss`` and ``predict``: a part that has no source yet but an
      ``init_cfg`` is initialised (``Runner.test`` and ``init_detector`` never call ``init_weights``);
      a part that stays random is refused, unless it is being trained;
    * saving: ``unsaved_parts`` are left out of state dicts.

    Call ``set_parts`` at the end of the constructor.
    """

    def set_parts(
        self,
        parts: Sequence[str],
        may_be_missing: Sequence[str] = (),
        may_be_unexpected: Sequence[str] = (),
        unsaved: Sequence[str] = (),
    ) -> None:
        """Declare the guarded parts.

        Args:
            parts: Paths of sub-modules; absent ones are skipped.
            may_be_missing: Parts a checkpoint need not hold (new heads, say). They stay without a
                source, so predicting with them is still refused until they are trained.
            may_be_unexpected: Key prefixes of a checkpoint to be ignored.
            unsaved: Parts to be left out of state dicts.
        """
        self._parts = tuple(p for p in parts if _find(self, p) is not None)
        self._may_be_missing = tuple(may_be_missing)
        self._may_be_unexpected = tuple(may_be_unexpected)
        self.unsaved_parts = tuple(unsaved)
        self._weights_ensured: set[bool] = set()
        self._register_state_dict_hook(_drop_unsaved)

    def weight_sources(self) -> dict[str, str | None]:
        """Where the weights of each part come from; None for random ones."""
        return {part: getattr(_find(self, part), 'weights_source', None) for part in self._parts}

    def ensure_weights(self) -> None:
        """Fill the parts that name a source, refuse those that stay random.

        Raises:
            RuntimeError: A part has random weights and is not being trained.
        """
        if self.training in self._weights_ensured:
            return
        for part, source in self.weight_sources().items():
            module = _find(self, part)
            if source is None and getattr(module, 'init_cfg', None):
                module.init_weights()
        for part, source in self.weight_sources().items():
            if source is None:
                self._settle_random_part(part, _find(self, part))
        self._weights_ensured.add(self.training)

    def _settle_random_part(self, part: str, module: nn.Module) -> None:
        if not any(True for _ in module.parameters()):
            return
        if self.training and any(p.requires_grad for p in module.parameters()):
            level = None if part in self._may_be_missing else WARNING
            print_log(f'{part}: trained from random weights.', 'current', level or 20)
            module.weights_source = 'trained here from random weights'
            return
        raise RuntimeError(
            f"'{part}' of {type(self).__name__} holds random weights. Load a checkpoint that "
            f"contains '{part}.*', or name its weights in the config, e.g. "
            "init_cfg=dict(type='CLIPPretrained', checkpoint=...) for CLIP parts, "
            "init_cfg=dict(type='LocalizerPretrained', checkpoint=...) for a localizer, or "
            "init_cfg=dict(type='RandomWeights') if random weights are what you want."
        )

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, *args: object
    ) -> None:
        report = self._compare(state_dict, prefix)
        print_log(str(report), 'current')
        self._refuse_surprises(report)
        for part in self._parts:
            if report.is_complete(part):
                _find(self, part).weights_source = 'checkpoint'
        self._weights_ensured.clear()
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def _compare(self, state_dict: dict, prefix: str) -> LoadReport:
        given = {k[len(prefix) :]: v for k, v in state_dict.items() if k.startswith(prefix)}
        self_loading = tuple(
            f'{name}.' for name, m in self.named_modules() if getattr(m, 'loads_itself', False)
        )
        own = {k: v for k, v in _state(self) if not k.startswith(self_loading or ('\0',))}
        given = {
            k: v
            for k, v in given.items()
            if not k.startswith(self_loading or ('\0',)) and 'num_batches_tracked' not in k
        }
        return LoadReport.compare(type(self).__name__, own, given, self._parts)

    def _refuse_surprises(self, report: LoadReport) -> None:
        problems = []
        for part, keys in report.missing.items():
            module = _find(self, part) if part else None
            known = getattr(module, 'weights_source', None) or getattr(module, 'init_cfg', None)
            fillable = part in self._may_be_missing or (part in self._parts and known)
            if not (fillable and not report.matched.get(part)):
                problems.append(f"'{part or 'model'}': {len(keys)} missing, e.g. {keys[0]}")
        for part, keys in report.mismatched.items():
            problems.append(f"'{part or 'model'}': {len(keys)} of another shape, e.g. {keys[0]}")
        unexpected = [k for k in report.unexpected if not k.startswith(self._may_be_unexpected)]
        if unexpected:
            problems.append(f'{len(unexpected)} unexpected keys, e.g. {", ".join(unexpected[:3])}')
        if problems:
            raise RuntimeError(
                f'The checkpoint does not fit {type(self).__name__}:\n  '
                + '\n  '.join(problems)
                + f'\n{report}\nNothing was loaded. If a part is meant to be absent or unused, list '
                'it in may_be_missing or may_be_unexpected of the model config.'
            )


def _find(model: nn.Module, path: str) -> nn.Module | None:
    for name in path.split('.'):
        model = getattr(model, name, None)
        if model is None:
            return None
    return model


def _state(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and persistent buffers, those of unsaved parts included."""
    for prefix, module in model.named_modules():
        tensors = dict(module._parameters)
        tensors.update(
            (k, v)
            for k, v in module._buffers.items()
            if k not in module._non_persistent_buffers_set
        )
        for name, tensor in tensors.items():
            if tensor is not None and name != 'num_batches_tracked':
                yield (f'{prefix}.{name}' if prefix else name), tensor


def _drop_unsaved(
    model: WeightGuard, state_dict: dict, prefix: str, local_metadata: dict
) -> None:
    for part in model.unsaved_parts:
        for key in [k for k in state_dict if k.startswith(f'{prefix}{part}.')]:
            del state_dict[key]
