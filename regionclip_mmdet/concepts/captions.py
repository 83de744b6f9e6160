# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Captions of several files, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from os import PathLike, fspath
from os.path import splitext

from mmengine.fileio import exists, get_local_path

from ..datasets.image_text import ImageTextDataset
from ..datasets.shards import (
    ImageTextShards,
    ImageTextTSV,
    PairsInShards,
    ShardFiles,
    find_shards,
    keep_indices,
)

FORMATS = {
    '.json': 'COCO captions',
    '.jsonl': 'a JSON object a line, as ImageTextDataset reads it',
    '.txt': 'a caption a line',
    '.tar': 'shards as ImageTextShards reads them',
    '.tsv': 'image files as ImageTextTSV reads them',
}
_SHARDS = {'.tar': ImageTextShards, '.tsv': ImageTextTSV}


class CaptionFiles:
    """Captions without outer white space, empty ones left out.

    Lines and shards are read piece by piece; COCO-caption files are read whole.

    Args:
        paths: Files; the suffix tells the format (``FORMATS``). Those of shards may have braces
            and wildcards.
        caption_key: Key of the captions in shards and TSV files; None: as ``ImageTextShards`` and
            ``ImageTextTSV`` choose.
        cache_dir: Folder for the indices of shards; None: beside them.
        copy_dir: Folder for copies of shards that are not local, see ``ImageTextShards``.
        processes: Make so many indices of shards at a time.
        backend_args: mmengine file backend.

    Attributes:
        num_left_out: Empty captions, and broken pairs of shards, left out by the last iteration.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A suffix is unknown, shards that are not local have no ``copy_dir``, or a key
            is given where no file has one. While reading: a damaged line or file, by its place.
        TypeError: While reading: a caption is no string.
    """

    def __init__(
        self,
        paths: Sequence[str | PathLike],
        caption_key: str | None = None,
        cache_dir: str | PathLike | None = None,
        copy_dir: str | PathLike | None = None,
        processes: int = 1,
        backend_args: dict | None = None,
    ) -> None:
        self.paths = [fspath(path) for path in paths]
        self.shard_options = dict(
            caption_key=caption_key,
            cache_dir=None if cache_dir is None else fspath(cache_dir),
            copy_dir=None if copy_dir is None else fspath(copy_dir),
            backend_args=backend_args,
            max_broken_share=1.0,
        )
        self.access = ShardFiles(backend_args, self.shard_options['copy_dir'])
        self.processes = processes
        self.backend_args = backend_args
        self.num_left_out = 0
        for path in self.paths:
            if not path.endswith(tuple(FORMATS)):
                formats = ', '.join(f'{suffix} ({what})' for suffix, what in FORMATS.items())
                raise ValueError(f'{path}: cannot tell the format; names end with {formats}.')
            if path.endswith(tuple(_SHARDS)):
                find_shards(path, access=self.access)
            elif not exists(path, backend_args=backend_args):
                raise FileNotFoundError(f'no caption file {path}.')
        if caption_key is not None and not any(p.endswith(tuple(_SHARDS)) for p in self.paths):
            raise ValueError(
                f'caption key {caption_key!r}: only shards (.tar) and .tsv files have a choice of '
                'keys, and none was given.'
            )

    def __iter__(self) -> Iterator[str]:
        self.num_left_out = 0
        for path in self.paths:
            suffix = splitext(path)[1]
            if suffix in _SHARDS:
                yield from self._pairs(partial(_SHARDS[suffix], **self.shard_options), path)
            else:
                yield from self._lines(path) if suffix == '.txt' else self._annotations(path)

    def _pairs(self, make_dataset: Callable[[str], PairsInShards], pattern: str) -> Iterator[str]:
        if self.processes > 1:
            keep_indices(make_dataset, find_shards(pattern, access=self.access), self.processes)
        dataset = make_dataset(pattern)
        for place in range(len(dataset)):
            yield from dataset.get_data_info(place)['captions']
        self.num_left_out += len(dataset.broken_pairs())

    def _annotations(self, path: str) -> Iterator[str]:
        dataset = ImageTextDataset(path, backend_args=self.backend_args, lazy_init=True)
        for item in dataset.read_items():
            yield from item['captions']
        self.num_left_out += dataset.num_skipped_captions

    def _lines(self, path: str) -> Iterator[str]:
        with get_local_path(path, backend_args=self.backend_args) as local:
            with open(local, 'rb') as file:  # decoded line by line, so that errors can name theirs
                for number, line in enumerate(file, start=1):
                    try:
                        caption = line.decode('utf-8-sig').strip()
                    except UnicodeDecodeError as error:
                        raise ValueError(f'{path}, line {number}: not UTF-8: {error}') from None
                    if caption:
                        yield caption
                    else:
                        self.num_left_out += 1
