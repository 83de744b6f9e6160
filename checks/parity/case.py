# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One recorded case: its arrays, its notes, its tolerances."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regionclip_mmdet.fileio import read_json

# Says which arrays were left out of copies of cases; see docs/parity.md.
TRIMMED = 'trimmed.json'
_NUMBER = re.compile(r'\d+(?:\.\d*)?(?:e[-+]?\d+)?', re.IGNORECASE)


class CaseError(ValueError):
    """A case cannot be run: an array or a note is missing or wrong."""


class Case:
    """A ``.npz`` file with inputs and recorded outputs of the official code.

    Args:
        path: The file. ``meta`` in it is a JSON string; ``meta['shapes']``, where there is one,
            lists all its arrays.
        left_out: Arrays that this copy of the case does without.
        borrowed: Arrays of other files that belong to this copy, by file name.
        device: Where its tensors are asked for, and its models run.
    """

    def __init__(
        self,
        path: Path,
        left_out: tuple[str, ...] = (),
        borrowed: Mapping[str, Sequence[str]] = MappingProxyType({}),
        device: torch.device | str = 'cpu',
    ) -> None:
        self.device = torch.device(device)
        self.path = path
        self.name = path.stem
        self.left_out = left_out
        self.arrays = _read_arrays(path)
        for lender, names in borrowed.items():
            lent = _read_arrays(path.with_name(f'{lender}.npz'))
            self.arrays.update({name: lent[name] for name in names if name in lent})
        self.meta: dict[str, Any] = self._read_meta()
        self.looked_at: set[str] = set()

    def _read_meta(self) -> dict[str, Any]:
        text = self.arrays.pop('meta', None)
        if text is None:
            return {}
        try:
            meta = json.loads(str(text))
        except json.JSONDecodeError as error:
            raise CaseError(f'meta is no JSON: {error}') from None
        if not isinstance(meta, dict):
            raise CaseError('meta is no JSON object')
        return meta

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def array(self, name: str) -> np.ndarray:
        """A recorded array.

        Raises:
            CaseError: There is none of this name.
        """
        if name not in self.arrays:
            raise CaseError(f'the array {name} is missing')
        self.looked_at.add(name)
        return self.arrays[name]

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(np.array(self.array(name))).to(self.device)

    def wants(self, name: str) -> bool:
        """Whether an output is to be compared: it is recorded, or ought to be."""
        return name not in self.left_out

    def note(self, *path: str, default: Any = None) -> Any:
        """A note of ``meta``; the default where there is none."""
        found: Any = self.meta
        for key in path:
            if not isinstance(found, Mapping) or key not in found:
                return default
            found = found[key]
        return found

    @property
    def seed(self) -> int:
        """Seed of the generated weights."""
        seed = self.note('weights_seed')
        if not isinstance(seed, int):
            raise CaseError("meta has no 'weights_seed'")
        return seed

    def limit(self, name: str, default: float) -> float:
        """A tolerance of ``meta['thresholds']``: a number, or the first one in its words.

        Args:
            name: Its name there.
            default: Where the file gives none.
        """
        given = self.note('thresholds', name)
        if isinstance(given, (int, float)):
            return float(given)
        number = _NUMBER.search(given) if isinstance(given, str) else None
        return float(number[0]) if number else default

    def numbered(self, pattern: str) -> list[int]:
        """The numbers ``i`` for which an array ``pattern.format(i)`` exists, from 0 on.

        Raises:
            CaseError: There is none.
        """
        numbers = list(_count_up(self, pattern))
        if not numbers:
            raise CaseError(f'the array {pattern.format(0)} is missing')
        return numbers

    def option(self, name: str) -> Any:
        """The value of an official config option in ``meta['opts']``; None if it is not set."""
        options = self.note('opts', default=[])
        pairs = dict(zip(options[::2], options[1::2]))
        return pairs.get(name)

    def faults(self) -> list[str]:
        """What is wrong with the file by itself: arrays missing, of other shapes, not finite."""
        found = []
        for name, (_, shape) in self.note('shapes', default={}).items():
            if name in self.left_out:
                continue
            if name not in self:
                found.append(f'{name} is missing')
            elif list(self.arrays[name].shape) != list(shape):
                here = list(self.arrays[name].shape)
                found.append(f'{name} has shape {here}, meta says {list(shape)}')
        for name, array in self.arrays.items():
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
                found.append(f'{name}{list(index)} is recorded as {array[index]}')
        return found


def _count_up(case: Case, pattern: str) -> Iterator[int]:
    number = 0
    while pattern.format(number) in case:
        yield number
        number += 1


def find_cases(folder: Path) -> dict[str, Path]:
    """Files of cases by name; those of a ``trimmed.json`` that only lend inputs are left out.

    Raises:
        FileNotFoundError: No such folder, or no case in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such folder')
    lenders = _trimmed(folder).get('inputs_only', [])
    found = {path.stem: path for path in sorted(folder.glob('*.npz')) if path.stem not in lenders}
    if not found:
        raise FileNotFoundError(f'{folder} holds no cases (*.npz)')
    return found


def open_case(path: Path, device: torch.device | str = 'cpu') -> Case:
    """Read a case, with what ``trimmed.json`` next to it says of it."""
    notes = _trimmed(path.parent)
    return Case(
        path,
        tuple(notes.get('left_out', {}).get(path.stem, ())),
        notes.get('borrowed', {}).get(path.stem, {}),
        device,
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # damaged files raise whatever zip and numpy please
        raise CaseError(f'cannot be read ({type(error).__name__}: {error})') from None


def _trimmed(folder: Path) -> dict[str, Any]:
    file = folder / TRIMMED
    return read_json(file) if file.is_file() else {}
