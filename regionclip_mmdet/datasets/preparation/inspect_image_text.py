# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What shards of image-text pairs hold, and which images in them are damaged."""

from __future__ import annotations

import io
import os.path as osp
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ...visualization import Caption, contact_sheet, make_tile
from ...visualization.contact_sheet import FAINT
from ..shards import exclusion_line
from ..transforms.load_image import decode_rgb

_PERCENTILES = (0, 5, 50, 95, 100)
# Pillow names the buffer that it reads from, differently in every run
_ADDRESS = re.compile(r' <_io\.BytesIO object at \w+>')


class _Facts(NamedTuple):
    """About one pair; ``problem`` is '' if there is none."""

    idx: int
    width: int
    height: int
    num_bytes: int
    captions: int
    words: tuple[int, ...]
    problem: str


class _Columns(NamedTuple):
    """About the sound pairs of a batch, in arrays: millions of tuples would fill the memory."""

    sizes: np.ndarray
    image_bytes: np.ndarray
    captions: np.ndarray
    words: np.ndarray
    broken: list[tuple[int, str]]

    @classmethod
    def of(cls, facts: Sequence[_Facts]) -> _Columns:
        sound = [fact for fact in facts if not fact.problem]
        return cls(
            _array([(fact.width, fact.height) for fact in sound]).reshape(-1, 2),
            _array([fact.num_bytes for fact in sound]),
            _array([fact.captions for fact in sound]),
            _array([words for fact in sound for words in fact.words]),
            [(fact.idx, fact.problem) for fact in facts if fact.problem],
        )


class _Pairs(Dataset):
    def __init__(self, dataset: Any, chosen: np.ndarray, decode: bool) -> None:
        self.dataset, self.chosen, self.decode = dataset, chosen, decode

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, number: int) -> _Facts:
        idx = int(self.chosen[number])
        size, length, captions, problem = (0, 0), 0, [], ''
        try:
            captions = self.dataset.get_data_info(idx)['captions']
            content = self.dataset.image_bytes(idx)
            length = len(content)
            with Image.open(io.BytesIO(content)) as image:
                size = image.size
            if self.decode:
                decode_rgb(content)
        except Exception as error:  # damaged files make decoders raise whatever they like
            text = _ADDRESS.sub('', f'{type(error).__name__}: {error}')
            problem = ' '.join(text.split())
        words = tuple(len(caption.split()) for caption in captions)
        return _Facts(idx, *size, length, len(captions), words, problem)


@dataclass
class ImageTextReport:
    """What was found.

    Attributes:
        shard_sizes: Pairs of each shard, int64 ``(shards,)``.
        num_bytes: Size of all shards in bytes.
        inspected: Number of pairs looked into.
        sizes: Width and height of the sound images among them, int64 ``(N, 2)``.
        image_bytes: Length of each of their files, int64 ``(N,)``.
        captions: Number of captions of each, int64 ``(N,)``.
        words: Number of words of each of their captions, int64 ``(M,)``.
        broken: Shard, key and reason; the key is '' for a damaged shard.
    """

    shard_sizes: np.ndarray
    num_bytes: int
    inspected: int
    sizes: np.ndarray
    image_bytes: np.ndarray
    captions: np.ndarray
    words: np.ndarray
    broken: list[tuple[str, str, str]]

    def broken_lines(self) -> list[str]:
        """Lines for ``exclude`` of ``ImageTextShards``."""
        return [exclusion_line(shard, key, why) for shard, key, why in self.broken if key]

    def __str__(self) -> str:
        pairs = int(self.shard_sizes.sum())
        lines = [
            f'{len(self.shard_sizes)} shards, {pairs} pairs, {self.num_bytes / 1e6:.1f} MB; '
            f'{self.inspected} pairs looked into',
            '',
            f'{"":18}' + ''.join(f'{name:>10}' for name in ('least', '5 %', 'median', '95 %'))
            + f'{"most":>10}',
        ]  # fmt: skip
        rows = {
            'pairs of a shard': self.shard_sizes,
            'short side': self.sizes.min(1, initial=10**9),
            'long side': self.sizes.max(1, initial=0),
            'kB of an image': self.image_bytes / 1e3,
            'captions of image': self.captions,
            'words of caption': self.words,
        }
        for name, values in rows.items():
            if len(values):
                cells = (f'{value:10.0f}' for value in np.percentile(values, _PERCENTILES))
                lines.append(f'{name:18}' + ''.join(cells))
        lines += ['', f'{len(self.broken)} broken pairs or shards']
        lines += [f'  {osp.join(s, key) if key else s}: {why}' for s, key, why in self.broken[:20]]
        if len(self.broken) > 20:
            lines.append(f'  and {len(self.broken) - 20} more')
        return '\n'.join(lines)


def inspect_image_text(
    dataset: Any,
    sample: int | None = None,
    decode: bool = True,
    num_workers: int = 0,
    progress: bool = True,
) -> ImageTextReport:
    """Look into pairs of ``ImageTextShards`` or ``ImageTextTSV``.

    Args:
        dataset: Whole; its ``broken_pairs`` are part of the report.
        sample: Look into so many pairs, evenly spread; None looks into all.
        decode: Decode images, which alone finds all damaged ones; False reads their heads.
        num_workers: Processes.
        progress: Show a progress bar.
    """
    number = len(dataset) if sample is None else min(sample, len(dataset))
    chosen = np.unique(np.linspace(0, len(dataset) - 1, number).astype(np.int64))
    loader = DataLoader(
        _Pairs(dataset, chosen, decode),
        batch_size=32,
        num_workers=num_workers,
        collate_fn=_Columns.of,
    )
    batches = []
    with tqdm(total=len(chosen), unit='pairs', disable=not progress) as bar:
        for batch in loader:
            batches.append(batch)
            bar.update(len(batch.sizes) + len(batch.broken))
    broken = list(dataset.broken_pairs())
    for idx, problem in (found for batch in batches for found in batch.broken):
        shard, row = dataset.place(idx)
        broken.append((dataset.shards[shard], dataset.indices[shard].key(row), problem))
    columns = {
        name: np.concatenate([getattr(batch, name) for batch in batches])
        for name in ('sizes', 'image_bytes', 'captions', 'words')
    }
    return ImageTextReport(
        shard_sizes=np.array([len(index) for index in dataset.indices], dtype=np.int64),
        num_bytes=sum(dataset.files.size(shard) for shard in dataset.shards),
        inspected=len(chosen),
        broken=broken,
        **columns,
    )


def _array(values: Sequence[Any]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def sheet_of_pairs(dataset: Any, number: int = 24, seed: int = 0, columns: int = 6) -> Image.Image:
    """Random pairs with their keys and first captions, to look at before training on them.

    Args:
        dataset: ``ImageTextShards`` or ``ImageTextTSV``.
        number: Number of pairs, drawn without repetition.
        seed: The same seed draws the same pairs.
        columns: Pairs in a row.

    Returns:
        An RGB image. Images appear as training sees them, turned by their EXIF orientation; of one
        that cannot be decoded the reason is written in its place.
    """
    number = min(number, len(dataset))
    chosen = np.random.default_rng(seed).choice(len(dataset), number, replace=False)
    tiles = [_tile(dataset, idx) for idx in chosen.tolist()]
    return Image.fromarray(contact_sheet(tiles, min(columns, number)))


def _tile(dataset: Any, idx: int) -> np.ndarray:
    image: np.ndarray | Exception
    try:
        image = decode_rgb(dataset.image_bytes(idx))
    except Exception as error:  # damaged files make decoders raise whatever they like
        image = error
    try:
        item = dataset.get_data_info(idx)
        name, captions = item['img_id'], item['captions']
    except OSError as error:
        name, captions = dataset.image_name(idx), [str(error)]
    more = f' (+{len(captions) - 1})' if len(captions) > 1 else ''
    return make_tile(image, [Caption(name, FAINT), Caption(captions[0] + more, max_lines=4)])
