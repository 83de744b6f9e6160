# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A folder of region features: what it says of itself, and how it is filled."""

from __future__ import annotations

import hashlib
import json
import os
import os.path as osp
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..datasets.preparation.files import write_all
from ..fileio import read_json
from ..resumable_job import BROKEN_FILE, refuse_other_settings
from .images import ImageList, printable
from .regions import ImageRegions

MANIFEST = 'features.json'
FORMAT = 'regionclip_mmdet.region_features'
# Raise it whenever the meaning of a file changes.
VERSION = 1
# Embeddings of the names, where there are any.
NAMES_FILE = 'names.pth'
_KINDS: Mapping[str, type] = dict(
    settings=dict,
    names=list,
    label_names=list,
    embed_dim=int,
    images=int,
    parts=int,
    image_root=str,
)
_REMEDY = 'Rebuild the folder with tools/extract_region_features.py --overwrite'


class Part(NamedTuple):
    """Images whose regions go into one file.

    Attributes:
        number: number of the file.
        rows: places of the images in their list.
    """

    number: int
    rows: Sequence[int]


def split_images(images: ImageList, per_part: int) -> list[Part]:
    """Parts of so many images; which image goes where does not depend on who computes it."""
    return [
        Part(number, range(start, min(start + per_part, len(images))))
        for number, start in enumerate(range(0, len(images), per_part))
    ]


@dataclass(frozen=True)
class Manifest:
    """What ``features.json`` says of a folder.

    Attributes:
        settings: all that the regions depend on: weights, sizes, boxes, names, thresholds.
        names: names that ``top_labels`` index.
        label_names: names that ``labels`` index.
        embed_dim: dimension ``D`` of the embeddings.
        images: number of images.
        parts: number of files.
        image_root: folder at which the paths of the images began.
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
        content = dict(format=FORMAT, version=VERSION, **vars(self))
        content.update(names=list(self.names), label_names=list(self.label_names))
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

    @classmethod
    def read_if_valid(cls, folder: str | os.PathLike) -> Manifest | None:
        """As ``read``; None of a folder that does not say how its files were made."""
        try:
            return cls.read(folder)
        except (FileNotFoundError, ValueError):
            return None


class Totals(NamedTuple):
    """Of a folder: broken images (path, reason), regions and dropped boxes; None: not known."""

    broken: list[tuple[str, str]]
    regions: int | None = None
    dropped: int | None = None


class FeatureStore(ABC):
    """A folder that is being filled.

    Args:
        folder: path of the folder.
        manifest: description of what is being written.
        images: all images.
        parts: the same, split.
    """

    def __init__(
        self, folder: str, manifest: Manifest, images: ImageList, parts: Sequence[Part]
    ) -> None:
        self.folder, self.manifest, self.images, self.parts = folder, manifest, images, parts
        # what this process has written
        self.num_regions = self.num_dropped = 0
        self.broken: list[tuple[str, str]] = []

    def begin(self, overwrite: bool) -> list[Part]:
        """Describe the folder and say what it lacks; called by the main process alone.

        Raises:
            ValueError: the folder was made with other settings.
        """
        if not overwrite and osp.isfile(osp.join(self.folder, MANIFEST)):
            self._check_settings(Manifest.read(self.folder))
        there, names = Manifest.read_if_valid(self.folder), osp.join(self.folder, NAMES_FILE)
        if there is not None and there.names and osp.isfile(names):
            os.remove(names)  # of another model, maybe; those of this one are written next
        os.makedirs(self.folder, exist_ok=True)
        missing = self._missing()
        self.manifest.write(self.folder)
        return missing

    def _check_settings(self, there: Manifest) -> None:
        refuse_other_settings(self.folder, there.settings, self.manifest.settings)
        if there.image_root != self.manifest.image_root:  # moved, or others
            warnings.warn(
                f'{self.folder} was made of images in {there.image_root}. Those in '
                f'{self.manifest.image_root} count as the same where path and length agree; others '
                'need another folder (--out).',
                stacklevel=2,
            )

    def write(
        self,
        part: Part,
        regions: Sequence[ImageRegions | None],
        broken: Mapping[int, str],
    ) -> None:
        """Write what was computed of a part."""
        self._write(part, regions, broken)
        whole = [image for image in regions if image is not None]
        self.num_regions += sum(map(len, whole))
        self.num_dropped += sum(image.dropped for image in whole)
        paths = [self.images.entries[row].path for row in part.rows]
        self.broken += [(paths[place], why) for place, why in broken.items()]

    def finish(self, broken: Sequence[tuple[str, str]]) -> Totals:
        """Read the whole folder and list broken images; called by the main process alone.

        Args:
            broken: path and reason of those that all processes met now.
        """
        totals = self._totals(broken)
        lines = [printable(f'{path}\t{" ".join(why.split())}') for path, why in totals.broken]
        write_all({Path(self.folder) / BROKEN_FILE: lines}, progress=False)
        return totals

    @abstractmethod
    def _missing(self) -> list[Part]: ...

    @abstractmethod
    def _write(
        self, part: Part, regions: Sequence[ImageRegions | None], broken: Mapping[int, str]
    ) -> None: ...

    @abstractmethod
    def _totals(self, broken: Sequence[tuple[str, str]]) -> Totals: ...
