# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images with captions, packed into tar shards."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...fileio import read_json, write_json, write_whole
from ..image_kinds import IMAGE_SUFFIXES
from ..proposal_file import proposal_key
from ..transforms.load_image import decode_rgb

PLAN = 'packing.json'


@dataclass
class PackingReport:
    """What a packed folder holds.

    Attributes:
        shards: Number of shards.
        kept: Of these, how many were there already.
        pairs: Number of pairs in them.
        left_out: Reasons, and how many images were left out for each.
        examples: Image and reason of the first few.
    """

    shards: int = 0
    kept: int = 0
    pairs: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        text = f'{self.pairs} pairs in {self.shards} shards ({self.kept} of them kept as they were)'
        if self.left_out:
            reasons = ', '.join(f'{n} {reason}' for reason, n in sorted(self.left_out.items()))
            path, reason = self.examples[0]
            text += f'; left out: {reasons}; e.g. {path} ({reason})'
        return text


def pack_shards(
    items: Any,
    out: str | Path,
    per_shard: int = 10000,
    seed: int | None = None,
    check: bool = False,
    progress: bool = True,
) -> PackingReport:
    """Write ``00000.tar``, ... in WebDataset's layout, as img2dataset does.

    A pair has the members ``KEY.jpg`` (or another suffix; the image file as it is), ``KEY.txt``
    (the first caption) and ``KEY.json`` (``caption``, ``captions``, ``key``, and ``image``, the
    last folder and the file name).
    Beside each shard ``00000_stats.json`` tells how many pairs it has and what was left out.

    Shards are written whole or not at all, and which pairs belong into which is decided before the
    first one: after an interruption the same call goes on with the shards that are missing. The
    bytes depend on the arguments alone.

    Args:
        items: A sequence of mappings with ``img_path`` and ``captions``.
        out: Folder.
        per_shard: Pairs in each shard, before images are left out.
        seed: Mix the pairs over all shards; None keeps their order.
        check: Decode each image, and leave out those that cannot be.
        progress: Show a progress bar.

    Raises:
        ValueError: The folder holds shards of other pairs or other settings.
        OSError: A file could not be written; says which and why.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    order = np.arange(len(items))
    if seed is not None:
        order = np.random.default_rng(seed).permutation(len(items))
    _claim(out, dict(per_shard=per_shard, seed=seed, check=check, **_fingerprint(items)))
    report = PackingReport()
    with tqdm(total=len(items), desc=str(out), unit='pairs', disable=not progress) as bar:
        for shard, first in enumerate(range(0, len(order), per_shard)):
            numbers = order[first : first + per_shard].tolist()
            path = out / f'{shard:05d}.tar'
            facts = out / f'{shard:05d}_stats.json'
            content = _known(facts) if path.exists() else None
            if content is not None:
                report.kept += 1
                bar.update(len(numbers))
            else:
                content = _write(path, items, numbers, first, check, bar.update)
                write_json(facts, content)
            _add(report, content)
    return report


def _fingerprint(items: Any) -> dict[str, Any]:
    digest = hashlib.sha256()
    for number in range(len(items)):
        item = items[number]
        digest.update(json.dumps([item['img_path'], item['captions']]).encode() + b'\n')
    return dict(pairs=len(items), sha256=digest.hexdigest())


def _claim(out: Path, plan: dict[str, Any]) -> None:
    """Refuse a folder in which something else was begun."""
    path = out / PLAN
    if not path.exists():
        if any(out.glob('*.tar')):
            raise ValueError(f'{out} holds shards already, without {PLAN}. Take another folder.')
        write_json(path, plan)
        return
    remedy = 'Take another folder, or remove this one'
    found = read_json(path, 'plan of packed shards', remedy)
    if not isinstance(found, dict):
        raise ValueError(f'{path} is no plan of packed shards. {remedy}.')
    differing = sorted(key for key in plan if found.get(key) != plan[key])
    if differing:
        raise ValueError(
            f'{out} holds shards of other pairs or settings: {", ".join(differing)} in {path} '
            f'differ. {remedy}.'
        )


def _write(
    path: Path,
    items: Any,
    numbers: Sequence[int],
    first: int,
    check: bool,
    advance: Callable[[], Any],
) -> dict[str, Any]:
    """Write one shard; what it holds."""
    pairs, left_out = 0, []
    with write_whole(path) as unfinished:
        with tarfile.open(unfinished, mode='w', format=tarfile.PAX_FORMAT) as archive:
            for place, number in enumerate(numbers):
                item = items[number]
                try:
                    members = _members(item, f'{first + place:09d}', check)
                except ValueError as error:
                    left_out.append([item['img_path'], str(error)])
                else:
                    for name, content in members:
                        info = tarfile.TarInfo(name)
                        info.size = len(content)
                        archive.addfile(info, io.BytesIO(content))
                    pairs += 1
                advance()
    return dict(pairs=pairs, left_out=left_out)


def _members(item: Mapping[str, Any], key: str, check: bool) -> list[tuple[str, bytes]]:
    path = Path(item['img_path'])
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ValueError(f'of a kind other than {", ".join(IMAGE_SUFFIXES)}')
    try:
        content = path.read_bytes()
    except OSError:
        raise ValueError('missing or unreadable') from None
    if check:
        try:
            decode_rgb(content)
        except Exception:  # damaged files make decoders raise whatever they like
            raise ValueError('damaged') from None
    captions = list(item['captions'])
    facts = dict(caption=captions[0], captions=captions, key=key, image=proposal_key(str(path)))
    return [
        (key + suffix, content),
        (f'{key}.txt', captions[0].encode()),
        (f'{key}.json', json.dumps(facts, ensure_ascii=False).encode()),
    ]


def _known(path: Path) -> dict[str, Any] | None:
    """What a shard holds, as it was written down; None if it must be packed again."""
    try:
        facts = read_json(path)
        if isinstance(facts['pairs'], int):
            left_out = [(image, str(reason)) for image, reason in facts['left_out']]
            return dict(pairs=facts['pairs'], left_out=left_out)
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return None


def _add(report: PackingReport, facts: Mapping[str, Any]) -> None:
    report.shards += 1
    report.pairs += facts['pairs']
    report.left_out.update(reason for _, reason in facts['left_out'])
    room = 10 - len(report.examples)
    report.examples += [(path, reason) for path, reason in facts['left_out'][:room]]
