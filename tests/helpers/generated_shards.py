# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Tar shards and TSV files of pairs whose pixels and captions tell their number."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

MEMBER = tuple[str, bytes]


def image(number: int, kind: str = 'PNG') -> bytes:
    """An image file of 6 x 8 pixels (height x width), all of one color: r + 256 g = number."""
    pixels = np.zeros((6, 8, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = number % 256, number // 256
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({'lossless': True} if kind == 'WEBP' else {}))
    return buffer.getvalue()


def pair(number: int) -> list[MEMBER]:
    """Members of one pair, in img2dataset's order."""
    key = f'{number:09d}'
    facts = {'caption': f'caption {number}', 'key': key, 'alt': [f'a {number}', f'b {number}']}
    return [
        (f'{key}.png', image(number)),
        (f'{key}.txt', f'caption {number}'.encode()),
        (f'{key}.json', json.dumps(facts).encode()),
    ]


def write_tar(path: Path, members: Iterable[MEMBER]) -> Path:
    """An archive of these files."""
    with tarfile.open(path, 'w') as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def block(name: str | bytes, size: int | bytes, kind: bytes = b'0', link: bytes = b'') -> bytes:
    """A ustar header by hand, whatever it says; a size of bytes is written as it is."""
    name = name if isinstance(name, bytes) else name.encode()
    size = size if isinstance(size, bytes) else b'%011o\0' % size
    fields = (name.ljust(100, b'\0'), b'0000644\0' + b'0000000\0' * 2, size, b'0' * 11 + b'\0')
    rest = (kind, link.ljust(100, b'\0'), b'ustar\00000')
    head = b''.join(fields) + b' ' * 8 + b''.join(rest)
    head = head.ljust(512, b'\0')
    return head[:148] + b'%06o\0 ' % sum(head) + head[156:]


def member(
    name: str | bytes, content: bytes, kind: bytes = b'0', size: int | bytes | None = None
) -> bytes:
    """A header by hand and a content, filled up to whole blocks."""
    head = block(name, len(content) if size is None else size, kind)
    return head + content + b'\0' * (-len(content) % 512)


def write_shards(folder: Path, sizes: Sequence[int]) -> Path:
    """Shards ``00000.tar``, ... of so many pairs, numbered through."""
    folder.mkdir(parents=True, exist_ok=True)
    first = 0
    for shard, size in enumerate(sizes):
        numbers = range(first, first + size)
        write_tar(folder / f'{shard:05d}.tar', [member for n in numbers for member in pair(n)])
        first += size
    return folder


def write_tsv(folder: Path, shard: int, numbers: Sequence[int], texts: Sequence[str]) -> Path:
    """``images_N.tsv`` and ``text_N.tsv``."""
    folder.mkdir(parents=True, exist_ok=True)
    images = folder / f'images_{shard}.tsv'
    images.write_text(''.join(f'k{n}\t{base64.b64encode(image(n)).decode()}\n' for n in numbers))
    rows = zip(numbers, texts, strict=True)
    (folder / f'text_{shard}.tsv').write_text(''.join(f'k{n}\t{text}\n' for n, text in rows))
    return images


def number_in(pixels: np.ndarray) -> int:
    """The number of an image (BGR, uint8, ``(H, W, 3)`` or a tensor ``(3, H, W)``)."""
    pixels = np.asarray(pixels)
    pixels = pixels if pixels.shape[-1] == 3 else pixels.transpose(1, 2, 0)
    assert (pixels == pixels[0, 0]).all()
    _, green, red = pixels[0, 0].tolist()
    return red + 256 * green
