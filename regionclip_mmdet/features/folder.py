# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A folder of region features: what it is, and what it still lacks."""

from __future__ import annotations

import hashlib
import json
import os
import os.path as osp
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.preparation.files import write_all
from ..datasets.shards import differences
from ..fileio import read_json
from .images import ImageList, printable
from .part_file import FORMAT, NAMES_FILE, VERSION, Origin, images_of, part_name, read_part

MANIFEST = 'features.json'
BROKEN_FILE = 'broken.tsv'
_KINDS: Mapping[str, type] = dict(
    settings=dict,
    names=list,
    label_names=list,
    embed_dim=int,
    images=int,
    parts=int,
    image_root=str,
)
_REMEDY = 'Make the folder anew with tools/extract_region_features.py --overwrite'


@dataclass(frozen=True)
class Part:
    """Images whose regions go into one file.

    Attributes:
        number: Of the file.
        rows: Places of the images in their list.
        origins: The images.
    """

    number: int
    rows: Sequence[int]
    origins: Sequence[Origin]


@dataclass(frozen=True)
class Manifest:
    """What ``features.json`` says of a folder.

    Attributes:
        settings: All that the regions depend on: weights, sizes, boxes, names, thresholds.
        names: That ``top_labels`` number.
        label_names: That ``labels`` number.
        embed_dim: ``D``.
        images: How many.
        parts: How many files.
        image_root: Where the paths of the images began.
    """

    settings: Mapping[str, Any]
    names: Sequence[str]
    label_names: Sequence[str]
    embed_dim: int
    images: int
    parts: int
    image_root: str

    @property
    def settings_sha256(self) -> str:
        """Tells files that belong to it."""
        text = json.dumps(self.settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def write(self, folder: str | os.PathLike) -> None:
        """Write ``features.json``, whole or not at all."""
        content = dict(
            format=FORMAT,
            version=VERSION,
            settings=dict(self.settings),
            names=list(self.names),
            label_names=list(self.label_names),
            embed_dim=self.embed_dim,
            images=self.images,
            parts=self.parts,
            image_root=self.image_root,
        )
        write_all({Path(folder) / MANIFEST: content}, progress=False)

    @classmethod
    def read(cls, folder: str | os.PathLike) -> Manifest:
        """Read ``features.json`` of a folder.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is something else, or of a later version.
        """
        path = osp.join(folder, MANIFEST)
        if not osp.isfile(path):
            raise FileNotFoundError(
                f'{folder} is no folder of region features: it has no {MANIFEST}. '
                'tools/extract_region_features.py makes one.'
            )
        content = read_json(path, 'description of region features', _REMEDY)
        if not isinstance(content, dict) or content.pop('format', None) != FORMAT:
            raise ValueError(
                f'{path} does not describe region features (no format={FORMAT!r} inside).'
            )
        version = content.pop('version', None)
        if not isinstance(version, int) or version > VERSION:
            raise ValueError(
                f'{path} has version {version}, this release reads up to {VERSION}; update '
                'regionclip_mmdet.'
            )
        wrong = [key for key, kind in _KINDS.items() if not isinstance(content.get(key), kind)]
        wrong += [key for key in content if key not in _KINDS]
        if not wrong and content['parts'] < 1:
            wrong = ['parts']
        if wrong:
            raise ValueError(
                f'{path} does not describe region features: {", ".join(wrong)} missing or of '
                f'another kind. {_REMEDY}.'
            )
        return cls(**content)


def split_images(images: ImageList, per_part: int) -> list[Part]:
    """Parts of so many images; which image goes where does not depend on who computes it."""
    return [
        Part(number, range(start, min(start + per_part, len(images))), ())
        for number, start in enumerate(range(0, len(images), per_part))
    ]


def with_origins(part: Part, images: ImageList) -> Part:
    """The part with what is known of its images without reading them."""
    return Part(part.number, part.rows, [_origin(images, row) for row in part.rows])


def _origin(images: ImageList, row: int) -> Origin:
    path = images.full_path(row)
    return Origin(images.entries[row], osp.getsize(path) if osp.isfile(path) else -1)


def check_settings(folder: str, manifest: Manifest, overwrite: bool) -> None:
    """Refuse a folder that was made with other settings.

    Raises:
        ValueError: Says which differ.
    """
    if overwrite or not is_described(folder):
        return
    made = Manifest.read(folder)
    differing = differences(made.settings, manifest.settings)
    if differing:
        raise ValueError(
            f'{folder} was made with other settings: {", ".join(differing)} differ. Take another '
            'folder (--out), or make its files anew (--overwrite).'
        )
    if made.image_root != manifest.image_root:  # moved, or others
        warnings.warn(
            f'{folder} was made of images in {made.image_root}. Those in {manifest.image_root} '
            'count as the same where path and length agree; others need another folder (--out).',
            stacklevel=2,
        )


def is_described(folder: str) -> bool:
    """Whether a folder says how its files were made."""
    return osp.isfile(osp.join(folder, MANIFEST))


def has_names(folder: str) -> bool:
    """Whether a folder has embeddings of names, and says so."""
    try:
        named = bool(Manifest.read(folder).names)
    except (FileNotFoundError, ValueError):
        return False
    return named and osp.isfile(osp.join(folder, NAMES_FILE))


def same_settings(folder: str, manifest: Manifest) -> bool:
    """Whether a folder was made with these settings; one without a manifest was not."""
    try:
        return not differences(Manifest.read(folder).settings, manifest.settings)
    except (FileNotFoundError, ValueError):
        return False


def missing_parts(
    folder: str, parts: Sequence[Part], images: ImageList, settings_sha256: str
) -> Iterator[Part]:
    """Parts whose files are not there, damaged, of other settings or of other images."""
    for part in parts:
        part = with_origins(part, images)
        path = osp.join(folder, part_name(part.number))
        try:
            arrays, meta = read_part(path, tuple(images_of(())))
        except (FileNotFoundError, ValueError):
            yield part
            continue
        wanted = images_of(part.origins)
        same = all(np.array_equal(arrays[key], value) for key, value in wanted.items())
        if not same or meta['settings_sha256'] != settings_sha256:
            yield part


def remove_extra_parts(folder: str, parts: int) -> None:
    """Remove files of images that are no longer in the list."""
    for path in Path(folder).glob('regions-*.npz'):
        number = path.stem.removeprefix('regions-')
        if number.isdigit() and int(number) >= parts:
            path.unlink()


def write_broken(folder: str, broken: Sequence[tuple[str, str]]) -> None:
    """Write the list of images without regions: path, tabulator, reason."""
    lines = [printable(f'{path}\t{" ".join(why.split())}') for path, why in broken]
    write_all({Path(folder) / BROKEN_FILE: lines}, progress=False)
