# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Runs recorded cases and says of each in one line how near our numbers are."""

from __future__ import annotations

import fnmatch
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from types import ModuleType

import torch

from . import (
    backbone,
    gathering,
    localizers,
    pretraining,
    soft_nms,
    text,
    transfer_steps,
    zero_shot,
)
from .case import Case, CaseError, find_cases, open_case
from .comparison import Comparison, Difference

# Gathering first: its arrays have the names of pretraining's, behind a rank.
KINDS: tuple[ModuleType, ...] = (
    gathering,
    backbone,
    localizers,
    zero_shot,
    transfer_steps,
    pretraining,
    text,
    soft_nms,
)
# What the names of cases begin with.
LETTERS: dict[str, ModuleType] = dict(
    a=backbone,
    b=localizers,
    c=zero_shot,
    d=transfer_steps,
    e=transfer_steps,
    f=pretraining,
    g=text,
    h=soft_nms,
)
NAME_WIDTH = 30


@dataclass
class Outcome:
    """What came of a case.

    Attributes:
        name: Of the case.
        what: What was compared, in words; the error, if it could not be run.
        comparison: All differences; None if the case could not be run.
        seconds: That it took.
    """

    name: str
    what: str
    comparison: Comparison | None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the case ran and all its numbers agree."""
        return self.comparison is not None and self.comparison.passed

    def line(self) -> str:
        """The case in one line, with the array nearest to its tolerance."""
        head = f'{"pass" if self.passed else "FAIL"}  {self.name:<{NAME_WIDTH}}'
        if self.comparison is None:
            return f'{head} {self.what}'
        differences, worst = self.comparison.differences, self.comparison.closest
        wrong = sum(not d.passed for d in differences)
        place = f'{wrong} of them differ, above all' if wrong else 'closest to its tolerance'
        parts = [
            f'{self.what} ({len(differences)} arrays)',
            f'{place} {worst.name}: {numbers(worst)}',
            f'{self.seconds:.1f} s',
        ]
        if self.comparison.case.left_out:
            parts.append(f'a copy without {len(self.comparison.case.left_out)} of its arrays')
        ignored = sorted(set(self.comparison.case.arrays) - self.comparison.case.looked_at)
        if ignored and self.passed:
            parts.append(f'not compared: {", ".join(ignored)}')
        return f'{head} ' + '; '.join(parts)

    def failures(self) -> list[str]:
        """A line for each array that does not agree."""
        if self.comparison is None:
            return []
        return [details(d) for d in self.comparison.differences if not d.passed]


def numbers(difference: Difference) -> str:
    """Largest differences and the tolerance; what is wrong, where there are no differences."""
    if isnan(difference.absolute):
        return difference.fault
    tolerance = f'{difference.limit:g} {difference.measure}' if difference.limit else 'equal'
    return f'abs {difference.absolute:.2g}, rel {difference.relative:.2g}, tolerance {tolerance}'


def details(difference: Difference) -> str:
    """One array: its name, numbers and what is wrong with it."""
    mark = 'ok  ' if difference.passed else 'FAIL'
    text = f'      {mark} {difference.name}: {numbers(difference)}'
    return text if difference.fault in text else f'{text}; {difference.fault}'


def kind_of(case: Case) -> ModuleType | None:
    """What runs a case: told by its arrays, else by the first letter of its name.

    Returns:
        A module of this package with ``run``, ``WHAT`` and ``NEEDED``; None for unknown kinds.
    """
    for module in KINDS:
        if any(mark in case for mark in module.MARKS):
            return module
    return LETTERS.get(case.name.partition('_')[0])


def verify(path: Path, device: torch.device | str = 'cpu') -> Outcome:
    """Run one case; whatever goes wrong is part of the outcome.

    Args:
        path: Of the ``.npz`` file.
        device: Where the models run; those of several processes always on the CPU.
    """
    started = time.perf_counter()
    try:
        case = open_case(path, device)
    except CaseError as error:
        return Outcome(path.stem, str(error), None)
    kind = kind_of(case)
    if kind is None:
        return Outcome(path.stem, 'unknown kind of case: none of its arrays tells one', None)
    comparison = Comparison(case)
    for fault in case.faults():
        comparison.fail('file', fault)
    for name in kind.NEEDED:
        if case.wants(name) and name not in case:
            comparison.fail(name, 'is missing')
    if not comparison.differences:
        try:
            kind.run(case, comparison)
        except CaseError as error:
            comparison.fail('case', str(error))
        except Exception as error:  # a broken model is a failed case, not the end of the others
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f'{Path(where.filename).name}:{where.lineno}'
            comparison.fail('case', f'{type(error).__name__} in {place}: {error}')
    return Outcome(path.stem, kind.WHAT, comparison, time.perf_counter() - started)


def select(folder: Path, patterns: Iterable[str] = ()) -> dict[str, Path]:
    """Cases of a folder whose names begin with or fit one of the patterns; all without patterns.

    Raises:
        FileNotFoundError: No such folder, no case in it, or none that matches.
    """
    cases = find_cases(folder)
    patterns = list(patterns)
    if not patterns:
        return cases
    chosen = {
        name: path
        for name, path in cases.items()
        if any(fnmatch.fnmatch(name, f'{p}*') for p in patterns)
    }
    if not chosen:
        raise FileNotFoundError(f'none of the {len(cases)} cases in {folder} matches {patterns}')
    return chosen
