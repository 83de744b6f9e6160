# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Differences between our numbers and recorded ones, and whether they are small enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isnan
from typing import Literal

import numpy as np
from torch import Tensor

from .case import Case, CaseError

Measure = Literal['absolute', 'relative']
Values = Tensor | np.ndarray | float


@dataclass(frozen=True)
class Difference:
    """How far one of our arrays is from the recorded one.

    Attributes:
        name: Of the recorded array.
        absolute: Largest absolute difference.
        relative: The same over the largest recorded magnitude.
        limit: What may not be exceeded.
        measure: Which of the two the limit is for.
        passed: Whether all is well.
        fault: What is wrong, in words with the index; empty if nothing is.
    """

    name: str
    absolute: float = 0.0
    relative: float = 0.0
    limit: float = 0.0
    measure: Measure = 'absolute'
    passed: bool = True
    fault: str = ''

    @property
    def used_up(self) -> float:
        """Share of the tolerance that is used; infinite where there is none, or no number."""
        value = self.absolute if self.measure == 'absolute' else self.relative
        if isnan(value) or (value and not self.limit):
            return float('inf')
        return value / self.limit if self.limit else 0.0


@dataclass
class Comparison:
    """All differences of a case.

    Attributes:
        case: The case; its arrays are compared with.
        differences: In the order of comparing.
    """

    case: Case
    differences: list[Difference] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing is wrong."""
        return bool(self.differences) and all(d.passed for d in self.differences)

    @property
    def closest(self) -> Difference:
        """The difference nearest to, or furthest beyond, its tolerance."""
        return max(self.differences, key=lambda d: (d.used_up, d.absolute))

    def fail(self, name: str, fault: str) -> None:
        """Note something that is wrong whatever the tolerance."""
        self.differences.append(
            Difference(name, float('nan'), float('nan'), passed=False, fault=fault)
        )

    def fail_share(self, name: str, share: float, limit: float, fault: str) -> None:
        """Note that too large a share of something has no counterpart."""
        self.differences.append(Difference(name, share, share, limit, passed=False, fault=fault))

    def add(
        self,
        name: str,
        ours: Values,
        limit: float,
        measure: Measure = 'absolute',
        recorded: Values | None = None,
        scale: float | None = None,
    ) -> None:
        """Compare an array with the recorded one of the same name.

        A recorded array that is missing, has another shape or holds NaN is a failure; one that a
        trimmed copy of the case declares left out is passed over.

        Args:
            name: Of the recorded array.
            ours: Our numbers.
            limit: Largest difference allowed; 0: equal.
            measure: What the limit is for.
            recorded: In place of the array of that name.
            scale: Relative to this magnitude, not to the largest recorded one.
        """
        if recorded is None:
            if not self.case.wants(name):
                return
            try:
                recorded = self.case.array(name)
            except CaseError as error:
                self.fail(name, str(error))
                return
        self.differences.append(
            compare(name, _numbers(ours), _numbers(recorded), limit, measure, scale)
        )


def compare(
    name: str,
    ours: np.ndarray,
    recorded: np.ndarray,
    limit: float,
    measure: Measure = 'absolute',
    scale: float | None = None,
) -> Difference:
    """The largest difference of two arrays, see ``Comparison.add``."""
    if ours.shape != recorded.shape:
        fault = f'shape {list(ours.shape)}, recorded {list(recorded.shape)}'
        return Difference(name, float('nan'), float('nan'), limit, measure, False, fault)
    if ours.size == 0:
        return Difference(name, limit=limit, measure=measure)
    for whose, array in (('ours', ours), ('recorded', recorded)):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            index = tuple(int(i) for i in bad[0])
            fault = f'{whose} is {array[index]} at {list(index)} ({len(bad)} such)'
            return Difference(name, float('nan'), float('nan'), limit, measure, False, fault)
    gaps = np.abs(ours - recorded)
    worst = np.unravel_index(int(gaps.argmax()), gaps.shape)
    absolute = float(gaps[worst])
    magnitude = float(np.abs(recorded).max()) if scale is None else scale
    relative = absolute / magnitude if magnitude else (0.0 if absolute == 0 else float('inf'))
    passed = (absolute if measure == 'absolute' else relative) <= limit
    fault = ''
    if not passed:
        index = [int(i) for i in worst]
        place = f' at {index}' if index else ''
        fault = f'{ours[worst]:.7g}{place}, recorded {recorded[worst]:.7g}'
    return Difference(name, absolute, relative, limit, measure, passed, fault)


def _numbers(values: Values) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values).astype(np.float64)
