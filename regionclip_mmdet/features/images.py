# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Which images a folder, a pattern, a list or an annotation file stands for."""

from __future__ import annotations

import glob
import os
import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.annotation_file import read_annotation_file
from ..datasets.checks import check_coco
from ..datasets.image_kinds import READ_ENDINGS, is_image


@dataclass(frozen=True)
class ImageEntry:
    """An image to be looked at.

    Attributes:
        path: Relative to ``ImageList.root``.
        id: id in the annotation file, else place in the list.
    """

    path: str
    id: int


@dataclass(frozen=True)
class ImageList:
    """Images in a fixed order.

    Attributes:
        source: folder, pattern or file that they were listed from.
        root: Folder that their paths begin at.
        entries: The images.
    """

    source: str
    root: str
    entries: Sequence[ImageEntry]

    def __len__(self) -> int:
        return len(self.entries)

    def full_path(self, number: int) -> str:
        """Path of an image."""
        return osp.join(self.root, self.entries[number].path)


def list_images(source: str | os.PathLike, root: str | os.PathLike | None = None) -> ImageList:
    """List images; the same source gives the same order on any machine.

    Args:
        source: A folder (all images below it, by path; those of kinds that are not read, too, so
            that they are reported), a pattern (``'photos/*.jpg'``), an image,
            an annotation file in COCO's format (``.json``, its images and ids), or a text file
            (``.txt``) with a path a line.
        root: folder at which the paths in a file begin; by default the folder of that file.

    Raises:
        FileNotFoundError: There is no such file, or no image.
        ValueError: An image is listed twice, or an annotation file is none.
    """
    source = os.fspath(source)
    suffix = osp.splitext(source)[1].lower()
    beside = os.fspath(root) if root is not None else osp.dirname(source)
    if osp.isdir(source):
        paths = [
            path.relative_to(source).as_posix()
            for path in _files_below(Path(source))
            if is_image(path.name)
        ]
        entries, root = _numbered(sorted(paths)), source
    elif not osp.exists(source) and glob.has_magic(source):
        paths = [path for path in glob.glob(source, recursive=True) if osp.isfile(path)]
        entries, root = _numbered(sorted(filter(is_image, paths))), ''
    elif not osp.isfile(source):
        raise FileNotFoundError(f'{source} is no folder, file or pattern that matches anything.')
    elif suffix == '.json':
        entries, root = _of_annotations(source), beside
    elif is_image(source):
        entries, root = _numbered([osp.basename(source)]), osp.dirname(source)
    else:
        entries, root = _of_lines(source), beside
    if not entries:
        raise FileNotFoundError(f'{source}: no images ({", ".join(READ_ENDINGS)}).')
    _refuse_twice([entry.path for entry in entries], source)
    _refuse_twice([entry.id for entry in entries], source)
    return ImageList(source, osp.abspath(root), entries)


def _files_below(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """All files, through links to folders, too, as data is often put together of them."""
    above |= {osp.realpath(folder)}
    for path in folder.iterdir():
        if not path.is_dir():
            if path.is_file():
                yield path
        elif osp.realpath(path) not in above:  # a link to where it lies would have no end
            yield from _files_below(path, above)


def _of_lines(path: str) -> list[ImageEntry]:
    try:
        with open(path, encoding='utf-8-sig') as file:
            return _numbered([line.strip() for line in file if line.strip()])
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{path} is neither an image ({", ".join(READ_ENDINGS)}) nor a text file in UTF-8 '
            f'with a path a line: {error}'
        ) from None


def printable(text: str) -> str:
    """With what is no UTF-8 in the name of a file spelled out; it could not be written."""
    return text.encode(errors='backslashreplace').decode()


def _numbered(paths: Sequence[str]) -> list[ImageEntry]:
    return [ImageEntry(path, number) for number, path in enumerate(paths)]


def _of_annotations(path: str) -> list[ImageEntry]:
    content = read_annotation_file(path)
    if not isinstance(content, dict) or 'images' not in content:
        raise ValueError(
            f'{path} has no "images": IMAGES must be an annotation file in COCO\'s format. A file '
            'of results belongs to --boxes.'
        )
    check_coco({**content, 'annotations': [], 'categories': []}, path)  # nothing else is read
    found = []
    for image in content['images']:
        found.append(ImageEntry(file_name(image), whole_number(image['id'], path, 'image')))
    return found


def file_name(image: Mapping[str, Any]) -> str:
    """Of an image in an annotation file; LVIS has its address, which ends in folder and file."""
    return image.get('file_name') or '/'.join(image['coco_url'].split('/')[-2:])


def whole_number(value: object, path: str, what: str) -> int:
    """An id, which files of features hold as int64.

    Raises:
        ValueError: It is something else; names the file.
    """
    if not isinstance(value, int):
        raise ValueError(f'{path}: the {what} id {value!r} is no whole number, as it must be here.')
    return value


def _refuse_twice(values: Sequence[str | int], source: str) -> None:
    seen: set = set()
    for value in values:
        if value in seen:
            raise ValueError(f'{source}: {value} is listed twice.')
        seen.add(value)
