# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The files that the official tool for region features writes: one per image."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..compat.checkpoints import save_whole
from .folder import MANIFEST, NAMES_FILE, FeatureStore, Manifest, Part, Totals
from .regions import ImageRegions


def official_name(path: str) -> str:
    """Name of an image's file: that of the image up to its first dot."""
    return osp.basename(path).split('.')[0] + '.pth'


def write_official(folder: str, path: str, regions: ImageRegions, is_detected: bool) -> None:
    """Write the file of an image, whole or not at all.

    It is a ``torch.save`` of a dict of CPU tensors, as the official ``extract_region_features.py``
    makes it: ``boxes`` float32 ``(N, 4)`` in pixels of the original image, ``feats`` float32
    ``(N, D)``, raw; of detections also ``classes`` int64 ``(N,)`` and ``probs`` float32
    ``(N, K + 1)``, the last column being background.

    Args:
        folder: folder of the file.
        path: path of the image.
        regions: regions of the image, with ``probs`` if they are detections.
        is_detected: whether they are detections.
    """
    content = dict(
        boxes=torch.from_numpy(regions.boxes.copy()),
        feats=torch.from_numpy(regions.embeddings.copy()),
    )
    if is_detected and regions.probs is not None:
        content['classes'] = torch.from_numpy(regions.labels.copy()).long()
        content['probs'] = torch.from_numpy(regions.probs.copy())
    save_whole(content, osp.join(folder, official_name(path)))


class OfficialStore(FeatureStore):
    """A file per image; see ``write_official``."""

    def begin(self, overwrite: bool) -> list[Part]:
        """As in the base class.

        Raises:
            ValueError: two images would have the same file, or there are files that do not tell
                how they were made, too.
        """
        self._check_names()
        if not overwrite and not osp.isfile(osp.join(self.folder, MANIFEST)):
            self._check_new()
        if overwrite:
            there = Manifest.read_if_valid(self.folder)
            if there is None or there.settings != self.manifest.settings:
                self._check_others()
                for path in filter(osp.isfile, self._paths()):
                    os.remove(path)  # these files do not tell their settings
        return super().begin(overwrite)

    def _path(self, row: int) -> str:
        return osp.join(self.folder, official_name(self.images.entries[row].path))

    def _paths(self) -> list[str]:
        return [self._path(row) for row in range(len(self.images))]

    def _check_names(self) -> None:
        """Refuse images whose files would have the same name, or that of the names' embeddings."""
        seen = {NAMES_FILE: 'the embeddings of the names'} if self.manifest.names else {}
        for entry in self.images.entries:
            name = official_name(entry.path)
            other = seen.setdefault(name, entry.path)
            if other != entry.path:
                raise ValueError(
                    f'{other} and {entry.path} would have the same file {name}: the official '
                    'format goes by the name up to the first dot. Rename an image, extract the '
                    "folders one by one, or take this project's format."
                )

    def _check_new(self) -> None:
        """Refuse files of images in a folder that does not describe them; they count as done."""
        for path in filter(osp.isfile, self._paths()):
            raise ValueError(
                f'{self.folder} has a file {osp.basename(path)}, but does not say how it was made. '
                'Take another folder (--out), or replace its files (--overwrite).'
            )

    def _check_others(self) -> None:
        """Refuse files of other images, which would stay beside files with other settings."""
        known = {NAMES_FILE, *map(osp.basename, self._paths())}
        others = sorted({path.name for path in Path(self.folder).glob('*.pth')} - known)
        if others:
            raise ValueError(
                f'{self.folder} has {len(others)} files, {others[0]} for example, of images that '
                'are not in the list. They do not tell their settings, so they would be mixed up '
                'with those made now. Delete them, or take another folder (--out).'
            )

    def _missing(self) -> list[Part]:
        """The images without files, by part."""
        lacking = [
            Part(part.number, [row for row in part.rows if not osp.isfile(self._path(row))])
            for part in self.parts
        ]
        return [part for part in lacking if part.rows]

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
