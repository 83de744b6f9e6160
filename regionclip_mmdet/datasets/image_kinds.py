# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Image files by the suffix of their names."""

from __future__ import annotations

# Read as parts of image-text pairs.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp')
# Known, but not read: which of them a decoder is there for depends on the machine.
OTHER_IMAGE_SUFFIXES = (
    *('.gif', '.bmp', '.tif', '.tiff', '.avif', '.heic', '.heif', '.jxl', '.jp2', '.svg', '.ico'),
    *('.jfif', '.ppm', '.tga'),
)
