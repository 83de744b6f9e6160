# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Which files are images by their names, and which are read, named alone or in a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from PIL import Image

# Of animations and documents of several pages the first one is read.
READ_ENDINGS = (
    *IMG_EXTENSIONS,
    *('.jpe', '.jfif', '.jp2', '.j2k', '.jpx', '.gif', '.apng', '.avif', '.dib', '.pbm', '.pnm'),
    *('.tga', '.pcx', '.ico', '.psd', '.sgi', '.qoi', '.dds'),
)
# Never, see ``load_image.open_image``.
_NEVER = ('.eps', '.ai', '.wmf', '.emf')
# Not by Pillow alone; a plugin of it (pillow_heif) may add some.
_OTHER = (
    *('.heic', '.heif', '.hif', '.jxl', '.jxr', '.svg', '.svgz', '.exr', '.hdr', '.pfm', '.xcf'),
    *('.dng', '.cr2', '.cr3', '.nef', '.arw', '.orf', '.rw2', '.raf', '.pef', '.srw'),
)
IMAGE_ENDINGS = (*READ_ENDINGS, *_OTHER, *_NEVER)


def ending_of(path: str) -> str:
    """Ending of a path or address, in small letters: ``'.jpg'``."""
    return os.path.splitext(path.split('?')[0] if '://' in path else path)[1].lower()


def is_image(path: str) -> bool:
    """Whether a file counts as an image, by its name; also of a kind that is not read."""
    return ending_of(path) in IMAGE_ENDINGS


def is_read(path: str) -> bool:
    """Whether images of this kind are read. Names without a known ending are tried."""
    ending = ending_of(path)
    if ending in _OTHER:
        Image.init()
        return Image.registered_extensions().get(ending) in Image.OPEN
    return ending not in _NEVER


def why_not_read(path: str) -> str:
    """What to tell of an image whose kind is not read."""
    return (
        f'{path}: images of the kind {ending_of(path)} are not read here. Convert it to JPEG or '
        'PNG.'
    )


def count_unread(paths: Iterable[str]) -> str:
    """Kinds that are not read, with their numbers: ``'2 .heic, 1 .svg'``; '' if there are none."""
    counts = Counter(ending_of(path) for path in paths if not is_read(path))
    return ', '.join(f'{number} {ending}' for ending, number in sorted(counts.items()))
