# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What was checked, what was found, whether it is as it should be."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from regionclip_mmdet.datasets.shapes_world import CLASSES

from .history import History, Start
from .passes import PassReport
from .shards import Damage


class Check(NamedTuple):
    """One line of the result."""

    what: str
    value: str
    passed: bool

    def __str__(self) -> str:
        return f'{"ok  " if self.passed else "FAIL"} {self.what}: {self.value}'


def named(what: str, text: str, pairs: Iterable[tuple[str, str]]) -> Check:
    """Whether a text names all these pairs by shard and key."""
    pairs = list(pairs)
    missing = ['/'.join(pair) for pair in pairs if not _names(text, pair)]
    value = f'{len(pairs) - len(missing)} of {len(pairs)} ({_list("/".join(p) for p in pairs)})'
    if missing:
        value += f'; not named: {_list(missing)}'
    return Check(what, value, not missing)


def _names(text: str, pair: tuple[str, str]) -> bool:
    """As SHARD/KEY, or the shard with what is wrong in KEY."""
    shard, key = map(re.escape, pair)
    return re.search(rf'{shard}(/{key}|: truncated in {key})(?!\w)', text) is not None


def usable(text: str, damage: Damage) -> Check:
    """Whether the inspection counts the pairs that are left."""
    wanted = len(damage.good) + len(damage.undecodable)
    found = re.search(r'(\d+) shards, (\d+) pairs', text)
    count = int(found[2]) if found else -1
    return Check('pairs with image and caption', f'{count} (expected {wanted})', count == wanted)


def excluded(listed: str, damage: Damage) -> Check:
    """Whether the list of broken pairs holds exactly those."""
    found = {tuple(line.split('\t')[:2]) for line in listed.splitlines()}
    wanted = {*damage.undecodable, *damage.unusable}
    what = 'list of pairs to leave out'
    return Check(what, f'{len(found)} pairs (expected {len(wanted)})', found == wanted)


def pool(counts: Mapping[str, int], captions: Iterable[str]) -> Check:
    """Whether shapes are concepts, as often as the captions hold the words.

    Not all: a tagger takes some for other kinds of words ('cross' for a verb).
    """
    text = ' \n '.join(captions)
    shapes = sorted({name.split()[1] for name in CLASSES})
    own = {shape: len(re.findall(rf'\b{shape}s?\b', text)) for shape in shapes}
    found = [shape for shape in shapes if shape in counts]
    wrong = [f'{s}: {counts[s]} for {own[s]}' for s in found if counts[s] != own[s]]
    lacking = [shape for shape in shapes if shape not in counts]
    value = f'{len(counts)} concepts, {len(found)} of {len(shapes)} shapes among them'
    value += f' (not: {_list(lacking)})' if lacking else ''
    value += f'; counted otherwise: {_list(wrong)}' if wrong else ', counts as in the captions'
    return Check('concept pool', value, not wrong and 2 * len(found) > len(shapes))


def proposals(folder: Path, good: Collection[tuple[str, str]]) -> Check:
    """Whether the files of a folder hold boxes of exactly these pairs, within their images."""
    counts: dict[tuple[str, str], int] = {}
    wrong = []
    for path in sorted(folder.glob('*.proposals.npz')):
        with np.load(path) as content:
            starts, boxes = content['starts'], content['boxes']
            keys, objectness = content['keys'].tolist(), content['objectness']
        shard = path.name.replace('.proposals.npz', '.tar')
        for key, first, end in zip(keys, starts[:-1], starts[1:], strict=True):
            counts[shard, key] = int(end - first)
            own, logits = boxes[first:end], objectness[first:end]
            sound = (0 <= own).all() and (own <= 1).all() and (own[:, :2] < own[:, 2:]).all()
            if not sound or not np.isfinite(logits).all() or (np.diff(logits) > 0).any():
                wrong.append(f'{shard}/{key}')
    found = {pair for pair, count in counts.items() if count}
    value = f'{sum(counts.values())} boxes of {len(found)} images (expected {len(good)})'
    if wrong:
        value += f'; unsound: {len(wrong)}, e.g. {wrong[0]}'
    return Check('proposals', value, not wrong and found == set(good))


def resumed(starts: list[Start], checkpoint: int) -> Check:
    """Whether the second start began after the newest checkpoint, and all processes alike."""
    firsts = [sorted({r.first_iteration for r in s.records}) for s in starts[1:]]
    value = f'from iteration {checkpoint}; went on with {firsts}'
    return Check('resumed from the newest checkpoint', value, firsts == [[checkpoint + 1]])


def repeated(history: History) -> Check:
    """Whether iterations that were lost came again with the same samples."""
    value = f'{len(history.lost)} iterations, {len(history.differing)} with other samples'
    passed = bool(history.lost) and not history.differing
    return Check('what was lost was done again with the same samples', value, passed)


def history_is_whole(history: History, last_iteration: int) -> Check:
    """Whether each iteration is on record once, by all processes."""
    value = f'{len(history.steps)} of {last_iteration} iterations'
    value += ''.join(f'; {problem}' for problem in history.problems[:5])
    passed = not history.problems and len(history.steps) == last_iteration
    return Check('surviving history', value, passed)


def passes(reports: list[PassReport], number: int, samples: int) -> list[Check]:
    """Whether there are so many complete passes, each with every sample once."""
    checks = [
        Check(
            f'pass {report.number + 1}, every sample once over processes and workers',
            str(report),
            not report.problems and report.once == samples,
        )
        for report in reports
    ]
    checks.append(Check('complete passes', f'{len(reports)} of {number}', len(reports) == number))
    return checks


def learning(losses: Mapping[int, float]) -> Check:
    """Whether the image-text loss of a training fell; needs some records to say so.

    Args:
        losses: By iteration.
    """
    values = [losses[step] for step in sorted(losses)]
    third = len(values) // 3
    passed = bool(values) and bool(np.isfinite(values).all())
    if third < 2:
        return Check('image-text loss', f'{len(values)} records, too few to compare', passed)
    first, last = (float(np.mean(part)) for part in (values[:third], values[-third:]))
    value = f'{first:.3f} in the first third, {last:.3f} in the last'
    return Check('image-text loss falls', value, passed and last < first)


def naming(before: Mapping[str, float], after: Mapping[str, float]) -> Check:
    """Numbers of the evaluation; says whether they are numbers, not whether they are good."""
    keys = [key for key in ('top1', 'base_top1', 'novel_top1', 'top5') if f'regions/{key}' in after]
    pairs = [(key, before[f'regions/{key}'], after[f'regions/{key}']) for key in keys]
    value = ', '.join(f'{key} {100 * old:.1f} -> {100 * new:.1f} %' for key, old, new in pairs)
    passed = bool(pairs) and all(0 <= new <= 1 for *_, new in pairs)
    # all the same would mean that the checkpoint was not used
    passed = passed and any(before[key] != after[key] for key in before if key in after)
    return Check('names of annotated boxes, CLIP -> pretrained (chance: top1 1.6 %)', value, passed)


def _list(names: Iterable[str]) -> str:
    return ', '.join(names)
