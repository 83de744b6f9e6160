# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""An index of downloaded images with captions, for ``ImageTextDataset``."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ..image_kinds import IMAGE_SUFFIXES


def index_image_text(folder: str | Path, progress: bool = True) -> tuple[list[str], str]:
    """JSON lines of all images below a folder that have a caption beside them.

    The layout is that of img2dataset's ``output_format='files'``: ``00000/000000000.jpg`` with
    ``000000000.txt`` (the caption) or ``000000000.json`` (key 'caption'); any folders will do.
    Images are not opened.

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
            caption, problem = _caption(path)
            counts[problem or 'images with a caption'] += 1
            if not problem:
                image = path.relative_to(folder).as_posix()
                lines.append(json.dumps({'image': image, 'caption': caption}, ensure_ascii=False))
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
            if name.lower().endswith(IMAGE_SUFFIXES):
                yield Path(place, name)


def _caption(path: Path) -> tuple[str, str]:
    """The caption of an image, and what is wrong with it: '' if nothing is."""
    try:
        text = path.with_suffix('.txt')
        if text.exists():
            caption = text.read_text(encoding='utf-8')
        else:
            caption = json.loads(path.with_suffix('.json').read_text(encoding='utf-8'))['caption']
    except FileNotFoundError:
        return '', 'images without a .txt or .json file'
    except (ValueError, KeyError, TypeError):
        return '', 'images whose .txt or .json file cannot be read'
    caption = caption.strip() if isinstance(caption, str) else ''
    return caption, '' if caption else 'images with an empty caption'
