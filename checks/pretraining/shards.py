# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Shards with known damage, and what is left of them."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from regionclip_mmdet.fileio import read_json

FILE = 'damage.json'
MEMBERS = dict[str, bytes]


@dataclass
class Damage:
    """What was broken, and what is left; pairs are (name of the shard, key).

    Attributes:
        good: Pairs that must be used, with their captions.
        undecodable: The image is cut off; with their captions, which are whole.
        unusable: The caption is empty, or not there.
        truncated: Name of the truncated shard, and its first pair that is lost.
        lost: All pairs that are lost with it.
    """

    good: dict[tuple[str, str], str] = field(default_factory=dict)
    undecodable: dict[tuple[str, str], str] = field(default_factory=dict)
    unusable: list[tuple[str, str]] = field(default_factory=list)
    truncated: tuple[str, str] = ('', '')
    lost: list[tuple[str, str]] = field(default_factory=list)

    @property
    def captions(self) -> list[str]:
        """Those that can be read."""
        return [*self.good.values(), *self.undecodable.values()]

    def save(self, path: Path) -> None:
        """Write it to a JSON file."""
        content = dict(
            good=[[*pair, text] for pair, text in self.good.items()],
            undecodable=[[*pair, text] for pair, text in self.undecodable.items()],
            unusable=self.unusable,
            truncated=self.truncated,
            lost=self.lost,
        )
        path.write_text(json.dumps(content), encoding='utf-8')

    @classmethod
    def load(cls, path: Path) -> Damage:
        """Read what ``save`` wrote."""
        content = read_json(path)
        return cls(
            good={(shard, key): text for shard, key, text in content['good']},
            undecodable={(shard, key): text for shard, key, text in content['undecodable']},
            unusable=[tuple(pair) for pair in content['unusable']],
            truncated=tuple(content['truncated']),
            lost=[tuple(pair) for pair in content['lost']],
        )


def image_id(pair: tuple[str, str]) -> str:
    """``img_id`` of a pair in ``ImageTextShards``."""
    return '/'.join(pair)


def damage_shards(folder: Path, keep: int) -> Damage:
    """Break three pairs and one shard of a folder of whole shards, at least four.

    One pair gets an empty caption, one loses its caption, the image of one is cut in half, each in
    another shard; a fourth shard ends in the middle of an image.

    Args:
        folder: With ``*.tar`` of ``tools/data/pack_shards.py``.
        keep: Pairs that are left of the truncated shard.

    Returns:
        What is left, from the archives as they were before.
    """
    paths = sorted(folder.glob('*.tar'))
    quarters = [paths[number * len(paths) // 4] for number in range(4)]
    damage = Damage()
    for path in paths:
        for key, members in read_pairs(path).items():
            damage.good[path.name, key] = members['.txt'].decode()
    changes = (_empty_caption, _no_caption, _half_an_image)
    for path, change in zip(quarters, changes):
        pairs = read_pairs(path)
        key = list(pairs)[len(pairs) // 2]
        change(pairs[key])
        _write(path, pairs)
        caption = damage.good.pop((path.name, key))
        if change is _half_an_image:
            damage.undecodable[path.name, key] = caption
        else:
            damage.unusable.append((path.name, key))
    damage.lost = _truncate(quarters[3], keep)
    damage.truncated = damage.lost[0]
    for pair in damage.lost:
        del damage.good[pair]
    return damage


def read_pairs(path: Path) -> dict[str, MEMBERS]:
    """Files of each pair of a whole archive by suffix, in its order."""
    pairs: dict[str, MEMBERS] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            key, suffix = os.path.splitext(member.name)
            pairs.setdefault(key, {})[suffix] = archive.extractfile(member).read()
    return pairs


def _write(path: Path, pairs: dict[str, MEMBERS]) -> None:
    with tarfile.open(path, 'w') as archive:
        for key, members in pairs.items():
            for suffix, content in members.items():
                info = tarfile.TarInfo(key + suffix)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def _empty_caption(members: MEMBERS) -> None:
    members['.txt'] = b' '


def _no_caption(members: MEMBERS) -> None:
    del members['.txt'], members['.json']


def _half_an_image(members: MEMBERS) -> None:
    members['.jpg'] = members['.jpg'][: len(members['.jpg']) // 2]


def _truncate(path: Path, keep: int) -> list[tuple[str, str]]:
    """Cut an archive within the image of the first pair not kept; returns the pairs lost."""
    keys = list(read_pairs(path))
    with tarfile.open(path) as archive:
        member = archive.getmember(f'{keys[keep]}.jpg')
    os.truncate(path, member.offset_data + member.size // 2)
    return [(path.name, key) for key in keys[keep:]]
