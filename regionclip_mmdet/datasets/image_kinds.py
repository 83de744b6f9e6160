# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files of image-text data by their names: which hold images, which are no data at all."""

from __future__ import annotations

import re

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
