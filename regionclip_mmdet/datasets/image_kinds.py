# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files by their names: which are images, which are read, and which are no data at all."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable

from PIL import Image

# -- image-text pairs -----------------------------------------------------------------------------

# Read as parts of image-text pairs.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp')
# Known, but not read: which of them a decoder is there for depends on the machine.
OTHER_IMAGE_SUFFIXES = (
    *('.gif', '.bmp', '.tif', '.tiff', '.avif', '.heic', '.heif', '.jxl', '.jp2', '.svg', '.ico'),
    *('.jfif', '.ppm', '.tga'),
)
# What macOS and old tar programs put beside files.
_BESIDE = re.compile(r'(?:.*/)?(?:\._[^/]*|__MACOSX/.*|PaxHeaders?(?:\.\d+)?/.*)', re.DOTALL)
_BESIDE_HINTS = ('._', '__MACOSX', 'PaxHeader')


def is_beside(path: str) -> bool:
    """Whether a file was put beside another one by a program, as ``._KEY.jpg`` by macOS.

    Args:
        path: With slashes.
    """
    return any(hint in path for hint in _BESIDE_HINTS) and _BESIDE.fullmatch(path) is not None


# -- images that users name, alone or in a folder -------------------------------------------------

# Of animations and documents of several pages the first one is read.
READ_ENDINGS = (
    *('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp'),  # as mmdet's
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
