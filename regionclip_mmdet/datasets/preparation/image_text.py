# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""An index of downloaded images with captions, for ``ImageTextDataset``."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ..image_kinds import IMAGE_SUFFIXES, OTHER_IMAGE_SUFFIXES, is_beside
from ..shards import is_unicode, read_captions


def index_image_text(folder: str | Path, progress: bool = True) -> tuple[list[str], str]:
    """JSON lines of all images below a folder that have a caption beside them.

    The layout is that of img2dataset's ``output_format='files'``: ``00000/000000000.jpg`` with
    ``000000000.txt`` (the caption) or ``000000000.json`` (key 'caption'); any folders will do.
    Images are not opened. Those of other kinds (.gif) are left out and counted; what macOS puts
    beside files (``._a.jpg``) is passed over.

    Args:
        folder: Searched with all its folders, in the order of their names.
        progress: Show a progress bar.

    Returns:
        Lines ``{"image": path below the folder, "caption": ...}``, and one line that says what was
        found and left out.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No image with a caption in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'no folder {folder}.')
    lines, counts = [], Counter()
    with tqdm(unit='images', disable=not progress) as bar:
        for path in _images(folder):
            captions, problem = _captions(path)
            counts[problem or 'images with a caption'] += 1
            if not problem:
                image = path.relative_to(folder).as_posix()
                row = {'image': image, 'caption': captions[0]}
                if len(captions) > 1:
                    row = {'image': image, 'captions': captions}
                lines.append(json.dumps(row, ensure_ascii=False))
            bar.update()
    if not lines:
        found = f'{sum(counts.values())} images, none with a caption' if counts else 'no images'
        raise ValueError(
            f'{folder} has {found}. It needs image files with a .txt or .json file of the same '
            'name beside each; archives (.tar) must be unpacked first.'
        )
    return lines, f'{folder}: ' + ', '.join(f'{n} {what}' for what, n in sorted(counts.items()))


def _images(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix.lower() in (*IMAGE_SUFFIXES, *OTHER_IMAGE_SUFFIXES):
                if not is_beside(path.relative_to(folder).as_posix()):
                    yield path


def _captions(path: Path) -> tuple[list[str], str]:
    """Captions of an image, and what is wrong with it: '' if nothing is."""
    kind = path.suffix.lower()
    if kind in OTHER_IMAGE_SUFFIXES:
        return [], f'images of a kind that is not read ({kind})'
    if not is_unicode(str(path)):
        return [], 'images whose name is not UTF-8'
    try:
        text = path.with_suffix('.txt')
        is_json = not text.exists()
        content = (path.with_suffix('.json') if is_json else text).read_bytes()
        return read_captions(content, is_json, 'caption'), ''
    except FileNotFoundError:
        return [], 'images without a .txt or .json file'
    except (OSError, ValueError) as error:
        if str(error) == 'empty caption':
            return [], 'images with an empty caption'
        return [], 'images whose .txt or .json file cannot be read'
