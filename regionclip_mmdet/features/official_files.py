# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The files that the official tool for region features writes: one of each image."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ..compat.checkpoints import save_whole
from .folder import Part
from .images import ImageList
from .part_file import NAMES_FILE
from .regions import ImageRegions


def official_name(path: str) -> str:
    """Name of an image's file: that of the image up to its first dot."""
    return osp.basename(path).split('.')[0] + '.pth'


def check_official_names(images: ImageList, taken: Sequence[str] = ()) -> None:
    """Refuse images whose files would have the same name, or that of another file.

    Args:
        images: The images.
        taken: Names of other files of the folder.

    Raises:
        ValueError: Two images of different folders or suffixes are called alike.
    """
    seen = {name: 'the embeddings of the names' for name in taken}
    for entry in images.entries:
        name = official_name(entry.path)
        other = seen.setdefault(name, entry.path)
        if other != entry.path:
            raise ValueError(
                f'{other} and {entry.path} would have the same file {name}: the official format '
                'goes by the name up to the first dot. Rename an image, extract the folders one by '
                "one, or take this project's format."
            )


def check_new(folder: str, images: ImageList) -> None:
    """Refuse a folder that has files of images but does not say how they were made.

    Raises:
        ValueError: Names one of them; they would count as done.
    """
    for name in (official_name(entry.path) for entry in images.entries):
        if osp.isfile(osp.join(folder, name)):
            raise ValueError(
                f'{folder} has a file {name}, but does not say how it was made. Take another '
                'folder (--out), or make its files anew (--overwrite).'
            )


def check_others(folder: str, images: ImageList) -> None:
    """Refuse a folder with files of other images, which would stay beside files made otherwise.

    Raises:
        ValueError: Names one of them.
    """
    known = {NAMES_FILE, *(official_name(entry.path) for entry in images.entries)}
    others = sorted({path.name for path in Path(folder).glob('*.pth')} - known)
    if others:
        raise ValueError(
            f'{folder} has {len(others)} files, {others[0]} for example, of images that are not in '
            'the list. They do not tell their settings, so they would be mixed up with those made '
            'now. Delete them, or take another folder (--out).'
        )


def write_official(folder: str, path: str, regions: ImageRegions, is_detected: bool) -> None:
    """Write the file of an image, whole or not at all.

    It is a ``torch.save`` of a dict of CPU tensors, as the official ``extract_region_features.py``
    makes it: ``boxes`` float32 ``(N, 4)`` in pixels of the original image, ``feats`` float32
    ``(N, D)``, raw; of detections also ``classes`` int64 ``(N,)`` and ``probs`` float32
    ``(N, K + 1)``, the last column being background.

    Args:
        folder: Where to.
        path: Of the image.
        regions: Of it, with ``probs`` if they are detections.
        is_detected: Whether they are detections.
    """
    content = dict(
        boxes=torch.from_numpy(regions.boxes.copy()),
        feats=torch.from_numpy(regions.embeddings.copy()),
    )
    if is_detected:
        content['classes'] = torch.from_numpy(regions.labels.copy()).long()
        content['probs'] = torch.from_numpy(regions.probs.copy())
    save_whole(content, osp.join(folder, official_name(path)))


def missing_official(folder: str, parts: Sequence[Part], images: ImageList) -> Iterator[Part]:
    """The images without files, by part."""
    for part in parts:
        rows = [
            row
            for row in part.rows
            if not osp.isfile(osp.join(folder, official_name(images.entries[row].path)))
        ]
        if rows:
            yield Part(part.number, rows, ())


def remove_official(folder: str, images: ImageList) -> None:
    """Remove the files of these images, which were made with other settings."""
    for entry in images.entries:
        path = osp.join(folder, official_name(entry.path))
        if osp.isfile(path):
            os.remove(path)
