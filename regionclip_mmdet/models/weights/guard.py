# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""No part of a model runs on random weights, and no checkpoint is half-loaded, unnoticed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from logging import INFO, WARNING

import torch
from mmengine.logging import print_log
from mmengine.model import initialize
from torch import Tensor, nn

from ...checkpoints.loading import SOURCE, named_source
from ...checkpoints.state_dicts import non_finite
from ...checkpoints.translation import Conversion, command, into_our_names
from ...contracts import HasWeightsSource, LoadsItself
from .initializers import use_strict_pretrained
from .report import LoadReport

NAME_THEM = (
    ", or name its weights in the config: init_cfg=dict(type='{}', checkpoint=...). If random "
    "weights are what you want, init_cfg=dict(type='RandomWeights') says so."
)
CLIP_HINT = NAME_THEM.format('CLIPPretrained')
# What helps besides a checkpoint, by the last name of a part; for all others it is CLIP_HINT.
HINTS = {
    'backbone': f"{CLIP_HINT} mmdet's init_detector deletes the backbone's init_cfg, unless it is "
    'given cfg_options={}.',
    'localizer': NAME_THEM.format('LocalizerPretrained'),
    'fc_reg': ', or train it. Zero-shot detection does without: with_reg=False of the box head.',
    'mask_head': ', or train it.',
}


class WeightGuard(nn.Module):
    """Mixin for detectors that accounts for the origin of every part's weights.

    A *part* is a sub-module named by its path, e.g. ``'localizer'``. Its ``weights_source`` says
    where its weights come from and is set by this project's initializers, by a checkpoint, or by
    training. The guard acts in three places, all reached by the stock entry points of mmengine and
    mmdet:

    * loading a state dict (``Runner``, ``init_detector``): tensors of official files get our names,
      every key is accounted for by part, the report is logged, and a surprise raises before
      anything is changed;
    * ``ensure_weights()``, called by ``loss`` and ``predict``: a part that has no source yet but an
      ``init_cfg`` is initialized (``Runner.test`` and ``init_detector`` never do that); mmengine's
      ``Pretrained`` is made strict, see ``PartPretrained``; a part that stays random is refused,
      unless all of it is being trained;
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
            parts: Paths of sub-modules. Those this model is built without may be in a checkpoint:
                they are reported and not used.
            may_be_missing: Parts a checkpoint need not hold (new heads, say). They stay without a
                source, so predicting with them is still refused until they are trained.
            may_be_unexpected: Key prefixes of a checkpoint to be ignored.
            unsaved: Frozen parts to be left out of state dicts.

        Raises:
            ValueError: A part is to be left out of checkpoints although it is trained.
        """
        self._parts = tuple(p for p in parts if _find(self, p) is not None)
        absent = tuple(f'{p}.' for p in parts if p not in self._parts)
        self._may_be_missing = tuple(may_be_missing)
        self._logged_random: tuple[str, ...] = ()
        self._may_be_unexpected = (*may_be_unexpected, *absent)
        self.unsaved_parts = tuple(p for p in unsaved if _find(self, p) is not None)
        for part in self.unsaved_parts:
            if any(p.requires_grad for p in _find(self, part).parameters()):
                raise ValueError(
                    f"'{part}' of {type(self).__name__} is trained, but checkpoints would not hold "
                    'it. Freeze it, or have it saved.'
                )
        for part in self._parts:
            use_strict_pretrained(_find(self, part))
        self._register_state_dict_hook(_drop_unsaved)

    def weight_sources(self) -> dict[str, str | None]:
        """Where the weights of each part come from; None for random ones."""
        return {part: _source(_find(self, part)) for part in self._parts}

    def ensure_weights(self, part: str | None = None, learning: bool = False) -> None:
        """Fill the parts that name a source, refuse those that stay random.

        Args:
            part: Only this part, for what needs no other; by default all.
            learning: Whether the caller trains the model, which makes random weights legitimate
                where all of a part learns. Being in training mode does not say that: it is the
                mode a model is built in.

        While torch traces a graph, e.g. to count operations (mmdet's ``get_flops.py``, which loads
        no checkpoint), nothing is filled or refused; random parts are logged.

        Raises:
            RuntimeError: A part has random weights and is not being trained.
        """
        names = self._parts if part is None else (part,)
        if torch.jit.is_tracing():
            self._log_random_parts(names)
            return
        if getattr(self, 'init_cfg', None) and any(not _source(_find(self, n)) for n in names):
            initialize(self, self.init_cfg)  # Pretrained, for example: a whole checkpoint
        for name in names:
            module = _find(self, name)
            if _source(module) is None and getattr(module, 'init_cfg', None):
                # not init_weights(), which would also log a line for every single tensor
                initialize(module, module.init_cfg)
            if _source(module) is None:
                self._settle_random_part(name, module, learning)

    def _log_random_parts(self, names: Sequence[str]) -> None:
        found = {name: _find(self, name) for name in names}
        random = tuple(
            name for name, part in found.items() if part is not None and not _source(part)
        )
        if random and random != self._logged_random:
            self._logged_random = random
            note = 'A graph of random weights is traced: counts mean something, numbers do not'
            print_log(f'{note} ({", ".join(random)}).', 'current', WARNING)

    def _settle_random_part(self, part: str, module: nn.Module, learning: bool) -> None:
        params = list(module.parameters())
        if not params:
            return
        # biases aside: the attention pool's key bias has no effect and is always frozen
        if learning and all(p.requires_grad for p in params if p.ndim > 1):
            level = INFO if part in self._may_be_missing else WARNING
            print_log(f'{part}: trained from random weights.', 'current', level)
            module.weights_source = 'trained here from random weights'
            return
        frozen = ', some of them frozen, so that training could not mend them' if learning else ''
        raise RuntimeError(
            f"'{part}' of {type(self).__name__} holds random weights{frozen}. Load a checkpoint "
            f"that contains '{part}.*'{HINTS.get(part.rpartition('.')[2], CLIP_HINT)}"
        )

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, *args: object
    ) -> None:
        path = local_metadata.get(SOURCE)
        converted = self._rename_official(state_dict, prefix, path)
        report = self._compare(state_dict, prefix)
        print_log(str(report), 'current')
        problems = self._vocabulary_problems(state_dict, prefix)
        problems += self._not_finite(state_dict, prefix)
        self._refuse_surprises(report, problems, path, converted)
        for part in self._parts:
            if report.is_complete(part):
                module = _find(self, part)
                module.weights_source = named_source(local_metadata)
                if file := _configured_file(module):
                    note = f"{part}: from this checkpoint, not from init_cfg's {file}"
                    print_log(note, 'current')
        # a part that gets its weights elsewhere is not missing: neither is a strict load to fail,
        # nor mmengine to warn of hundreds of keys
        for part in self._parts:
            if part in report.missing and part not in self._may_be_missing:
                for key, tensor in _find(self, part).state_dict().items():
                    state_dict.setdefault(f'{prefix}{part}.{key}', tensor)
        # the report has told of what is not used; mmengine would name each of hundreds of keys
        ignored = tuple(prefix + name for name in self._may_be_unexpected)
        for key in [k for k in report.unexpected if (prefix + k).startswith(ignored or ('\0',))]:
            del state_dict[prefix + key]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    @staticmethod
    def _rename_official(state_dict: dict, prefix: str, path: str | None) -> Conversion | None:
        """Official files serve as checkpoints: their tensors get our names, in place."""
        own = {k[len(prefix) :]: v for k, v in state_dict.items() if k.startswith(prefix)}
        converted = into_our_names(own, path)
        if converted is not None:
            for key in [k for k in state_dict if k.startswith(prefix)]:
                del state_dict[key]
            state_dict.update({prefix + key: value for key, value in own.items()})
        return converted

    def _not_finite(self, state_dict: dict, prefix: str) -> list[str]:
        names = [f'{prefix}{name}' for name, _ in _state(self)]
        wrong = non_finite({name: state_dict[name] for name in names if name in state_dict})
        if not wrong:
            return []
        return [f'{len(wrong)} tensors with NaN or infinite values, e.g. {", ".join(wrong[:3])}']

    def _compare(self, state_dict: dict, prefix: str) -> LoadReport:
        given = {k[len(prefix) :]: v for k, v in state_dict.items() if k.startswith(prefix)}
        self_loading = tuple(
            f'{name}.' for name, module in self.named_modules() if isinstance(module, LoadsItself)
        )
        own = {k: v for k, v in _state(self) if not k.startswith(self_loading or ('\0',))}
        given = {
            k: v
            for k, v in given.items()
            if not k.startswith(self_loading or ('\0',)) and 'num_batches_tracked' not in k
        }
        return LoadReport.compare(type(self).__name__, own, given, self._parts)

    def _vocabulary_problems(self, state_dict: dict, prefix: str) -> list[str]:
        """What is wrong with parts that load themselves: mmengine only warns of it."""
        problems = [
            module.loading_problem(state_dict, f'{prefix}{name}.')
            for name, module in self.named_modules()
            if isinstance(module, LoadsItself)
        ]
        return [problem for problem in problems if problem]

    def _refuse_surprises(
        self,
        report: LoadReport,
        problems: list[str],
        path: str | None = None,
        converted: Conversion | None = None,
    ) -> None:
        for part, keys in report.missing.items():
            module = _find(self, part) if part else None
            known = _source(module) or getattr(module, 'init_cfg', None)
            fillable = part in self._may_be_missing or (part in self._parts and known)
            if not (fillable and not report.matched.get(part)):
                problems.append(f"'{part or 'model'}': {len(keys)} missing, e.g. {keys[0]}")
        for part, keys in report.mismatched.items():
            kind = f'{len(keys)} of another shape or type'
            problems.append(f"'{part or 'model'}': {kind}, e.g. {keys[0]}")
        unexpected = [k for k in report.unexpected if not k.startswith(self._may_be_unexpected)]
        if unexpected:
            problems.append(f'{len(unexpected)} unexpected keys, e.g. {", ".join(unexpected[:3])}')
        if problems:
            remedy = (
                'If a part is meant to be absent or unused, list it in may_be_missing or '
                'may_be_unexpected of the model config.'
                if converted is None
                else f'What it is: {converted.kind}. If another file has what it lacks, make one '
                f'of both: {command(path, "OTHER")}'
            )
            name = 'The checkpoint' if path is None else f'The checkpoint {path}'
            raise RuntimeError(
                f'{name} does not fit {type(self).__name__}:\n  '
                + '\n  '.join(problems)
                + f'\n{report}\nNothing was loaded. {remedy}'
            )


def _find(model: nn.Module, path: str) -> nn.Module | None:
    for name in path.split('.'):
        model = getattr(model, name, None)
        if model is None:
            return None
    return model


def _source(module: nn.Module | None) -> str | None:
    return module.weights_source if isinstance(module, HasWeightsSource) else None


def _configured_file(module: nn.Module) -> str | None:
    configs = getattr(module, 'init_cfg', None)
    return configs.get('checkpoint') if isinstance(configs, dict) else None


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


def _drop_unsaved(model: WeightGuard, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    for part in model.unsaved_parts:
        for key in [k for k in state_dict if k.startswith(f'{prefix}{part}.')]:
            del state_dict[key]
