# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Where region features go: this project's files, or the official ones."""

from __future__ import annotations

import os
import os.path as osp
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .folder import (
    Manifest,
    Part,
    check_settings,
    has_names,
    is_described,
    missing_parts,
    remove_extra_parts,
    same_settings,
    write_broken,
)
from .images import ImageList
from .official_files import (
    check_new,
    check_official_names,
    check_others,
    missing_official,
    remove_official,
    write_official,
)
from .part_file import NAMES_FILE, part_name, read_part, write_part
from .regions import ImageRegions


class Totals(NamedTuple):
    """Of a folder: broken images (path, reason), regions and dropped boxes; None: not known."""

    broken: list[tuple[str, str]]
    regions: int | None = None
    dropped: int | None = None


class FeatureStore(ABC):
    """A folder that is being filled.

    Args:
        folder: Its path.
        manifest: Of what is being written.
        images: All images.
        parts: They, split.
    """

    def __init__(
        self, folder: str, manifest: Manifest, images: ImageList, parts: Sequence[Part]
    ) -> None:
        self.folder, self.manifest, self.images, self.parts = folder, manifest, images, parts
        # of what this process has written
        self.num_regions = self.num_dropped = 0
        self.broken: list[tuple[str, str]] = []

    def begin(self, overwrite: bool) -> list[Part]:
        """Describe the folder and say what it lacks; of one process alone.

        Raises:
            ValueError: It was made with other settings.
        """
        check_settings(self.folder, self.manifest, overwrite)
        if has_names(self.folder):  # of another model, maybe; those of this one are written next
            os.remove(osp.join(self.folder, NAMES_FILE))
        os.makedirs(self.folder, exist_ok=True)
        missing = self._missing()
        self.manifest.write(self.folder)
        return missing

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
        """Look through the whole folder and list broken images; of one process alone.

        Args:
            broken: Path and reason of those that all processes met now.
        """
        totals = self._totals(broken)
        write_broken(self.folder, totals.broken)
        return totals

    @abstractmethod
    def _missing(self) -> list[Part]: ...

    @abstractmethod
    def _write(
        self, part: Part, regions: Sequence[ImageRegions | None], broken: Mapping[int, str]
    ) -> None: ...

    @abstractmethod
    def _totals(self, broken: Sequence[tuple[str, str]]) -> Totals: ...


class NpzStore(FeatureStore):
    """Files of many images each; see ``write_part``."""

    def _missing(self) -> list[Part]:
        sha256 = self.manifest.settings_sha256
        return list(missing_parts(self.folder, self.parts, self.images, sha256))

    def _write(
        self, part: Part, regions: Sequence[ImageRegions | None], broken: Mapping[int, str]
    ) -> None:
        settings = self.manifest.settings
        write_part(
            osp.join(self.folder, part_name(part.number)),
            part.origins,
            regions,
            broken,
            self.manifest.embed_dim,
            min(settings['top'], len(self.manifest.names)),
            settings['dtype'],
            self.manifest.settings_sha256,
        )

    def _totals(self, broken: Sequence[tuple[str, str]]) -> Totals:
        remove_extra_parts(self.folder, len(self.parts))
        broken = []  # of earlier runs, too
        regions = dropped = 0
        for part in self.parts:
            path = osp.join(self.folder, part_name(part.number))
            arrays, meta = read_part(path, ('starts',))
            regions += int(arrays['starts'][-1])
            dropped += sum(number for _, number in meta['dropped'])
            broken += [(image, why) for _, image, why in meta['broken']]
        return Totals(broken, regions, dropped)


class OfficialStore(FeatureStore):
    """A file of each image; see ``write_official``."""

    def begin(self, overwrite: bool) -> list[Part]:
        """As in the base class.

        Raises:
            ValueError: Two images would have the same file, or there are files that do not tell
                how they were made, too.
        """
        check_official_names(self.images, [NAMES_FILE] if self.manifest.names else [])
        if not overwrite and not is_described(self.folder):
            check_new(self.folder, self.images)
        if overwrite and not same_settings(self.folder, self.manifest):
            check_others(self.folder, self.images)
            remove_official(self.folder, self.images)  # these files do not tell their settings
        return super().begin(overwrite)

    def _missing(self) -> list[Part]:
        return list(missing_official(self.folder, self.parts, self.images))

    def _write(
        self, part: Part, regions: Sequence[ImageRegions | None], broken: Mapping[int, str]
    ) -> None:
        is_detected = self.manifest.settings['source'] == 'detections'
        for row, found in zip(part.rows, regions, strict=True):
            if found is not None:
                path = self.images.entries[row].path
                write_official(self.folder, path, found, is_detected)

    def _totals(self, broken: Sequence[tuple[str, str]]) -> Totals:
        return Totals(sorted(broken))  # they have no file, so each run meets all of them


FILE_FORMATS = dict(npz=NpzStore, official=OfficialStore)
