# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What of a state dict fits a model, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ...checkpoints.parts import part_of


@dataclass
class LoadReport:
    """Keys of a model and of a state dict, compared.

    Attributes:
        model: Name of the model.
        matched: Number of keys that fit, per part (``''`` for keys outside all parts).
        missing: Keys of the model the state dict lacks, per part.
        mismatched: Keys whose shapes, or kinds of numbers, differ, with both, per part.
        unexpected: Keys of the state dict the model lacks.
    """

    model: str
    matched: dict[str, int] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)
    mismatched: dict[str, list[str]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)

    @classmethod
    def compare(
        cls,
        model: str,
        own: Mapping[str, Tensor],
        given: Mapping[str, Tensor],
        parts: Sequence[str],
    ) -> LoadReport:
        """Compare a model's tensors with a state dict's.

        Args:
            model: Name for the report.
            own: The model's tensors by key.
            given: The state dict.
            parts: Paths of sub-modules; a key belongs to the longest path that holds it.
        """
        report = cls(model)
        for key, tensor in own.items():
            part = part_of(key, parts)
            if key not in given:
                report.missing.setdefault(part, []).append(key)
            elif difference := _difference(tensor, given[key]):
                report.mismatched.setdefault(part, []).append(f'{key} ({difference})')
            else:
                report.matched[part] = report.matched.get(part, 0) + 1
        report.unexpected = [key for key in given if key not in own]
        return report

    def is_complete(self, part: str) -> bool:
        """Whether every tensor of the part is there with the right shape."""
        return part in self.matched and part not in self.missing and part not in self.mismatched

    def __str__(self) -> str:
        rows = [f'{self.model}: {"part":<32}{"matched":>8}{"missing":>8}{"shape":>7}']
        for part in sorted({*self.matched, *self.missing, *self.mismatched}):
            rows.append(
                ' ' * (len(self.model) + 2)
                + f'{part or "(other)":<32}{self.matched.get(part, 0):>8}'
                + f'{len(self.missing.get(part, ())):>8}{len(self.mismatched.get(part, ())):>7}'
            )
        if self.unexpected:
            first = ', '.join(self.unexpected[:3])
            rows.append(f'  unused keys of the file: {len(self.unexpected)}, e.g. {first}')
        return '\n'.join(rows)


def _difference(own: Tensor, given: object) -> str:
    """Why a value of a file cannot be a tensor of a model; ``''`` if it can."""
    if not isinstance(given, Tensor):
        return f'model {tuple(own.shape)}, file holds a {type(given).__name__}'
    if tuple(given.shape) != tuple(own.shape):
        return f'model {tuple(own.shape)}, file {tuple(given.shape)}'
    kinds = [
        (t.is_floating_point(), t.is_complex(), t.is_quantized, t.layout) for t in (own, given)
    ]
    return '' if kinds[0] == kinds[1] else f'model {own.dtype}, file {given.dtype}, {given.layout}'
