# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Category names of the open-vocabulary benchmarks: the one source of all splits.

* OV-COCO (Bansal et al., ECCV 2018): 48 base and 17 novel of COCO's 80 names, in the order of
  COCO's category ids.
* OV-LVIS (Gu et al., ICLR 2022): LVIS v1's 866 frequent and common names are base, the 337 rare
  ones novel, in the order of LVIS' category ids.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...fileio import read_json

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class LVISCategory:
    """One category of LVIS v1.

    Attributes:
        id: From 1.
        name: As in the annotation files, for example 'bow_(weapon)'.
        synonyms: Other names, the name itself included.
        frequency: 'f' (in more than 100 training images), 'c' (11 to 100) or 'r' (up to 10).
    """

    id: int
    name: str
    synonyms: tuple[str, ...]
    frequency: str


def _read(name: str) -> object:
    return read_json(_FOLDER / name)


_coco = _read('ov_coco.json')
COCO_80: tuple[str, ...] = tuple(_coco['coco80'])
OV_COCO_BASE: tuple[str, ...] = tuple(_coco['base'])
OV_COCO_NOVEL: tuple[str, ...] = tuple(_coco['novel'])
OV_COCO_ALL: tuple[str, ...] = tuple(n for n in COCO_80 if n in {*OV_COCO_BASE, *OV_COCO_NOVEL})

LVIS_V1: tuple[LVISCategory, ...] = tuple(
    LVISCategory(c['id'], c['name'], tuple(c['synonyms']), c['frequency'])
    for c in _read('lvis_v1.json')
)
LVIS_V1_NAMES: tuple[str, ...] = tuple(c.name for c in LVIS_V1)
OV_LVIS_BASE: tuple[str, ...] = tuple(c.name for c in LVIS_V1 if c.frequency != 'r')
OV_LVIS_NOVEL: tuple[str, ...] = tuple(c.name for c in LVIS_V1 if c.frequency == 'r')


def plain(name: str) -> str:
    """A name in lower case, as words, without remark: 'Bow_(weapon)' becomes 'bow'."""
    name = re.sub(r'\([^)]*\)', ' ', name)
    return ' '.join(re.sub(r'[_()-]', ' ', name).lower().split())


@lru_cache
def _synonyms() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for category in LVIS_V1:
        names = {plain(name) for name in (category.name, *category.synonyms)}
        for name in names:
            table.setdefault(name, set()).update(names)
    return {name: frozenset(names) for name, names in table.items()}


def synonyms(name: str) -> tuple[str, ...]:
    """Plain names that LVIS gives to the same thing, the given one first.

    For example ``synonyms('couch')`` has 'sofa'. A word with several meanings has the synonyms of
    all of them; one that LVIS does not know stands alone.
    """
    own = plain(name)
    return (own, *sorted(_synonyms().get(own, frozenset()) - {own}))
