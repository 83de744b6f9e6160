# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Long work over parts, shared among processes, that continues after an interruption.

Each part ends in files that are written whole or not at all and carry a fingerprint of the settings
they depend on. A run computes the parts whose files are missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from mmengine.dist import broadcast_object_list, get_dist_info
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .datasets.shards import differences
from .engine.ranks import failing_together, of_all_ranks

Part = TypeVar('Part')
Value = TypeVar('Value')
BROKEN_FILE = 'broken.tsv'
_BROKEN_SHOWN = 20


class Progress(NamedTuple):
    """What a run computed.

    Attributes:
        parts: number of parts that were missing.
        images: number of images in them.
        seconds: time until the slowest process had finished.
    """

    parts: int
    images: int
    seconds: float

    @property
    def rate(self) -> str:
        """Images per second, for a report; empty if there were none."""
        return f' ({self.images / self.seconds:.1f} a second)' if self.images else ''


class ResumableJob(ABC, Generic[Part]):
    """Work over parts that consist of images."""

    @abstractmethod
    def missing(self) -> list[Part]:
        """Parts to compute; called by the main process alone.

        Raises:
            ValueError: there are files that were made with other settings.
        """

    @abstractmethod
    def dataset(self, parts: Sequence[Part]) -> Dataset:
        """Images of some parts, in their order; its items are what ``compute`` is given."""

    @abstractmethod
    def compute(self, part: Part, images: Iterator[Any]) -> None:
        """Take the images of a part from the iterator, compute on them, and write the files."""

    def run(self, title: str, num_workers: int = 0, progress: bool = True) -> Progress:
        """Compute what is missing; to be called by all processes.

        Each process takes every ``n``-th missing part.

        Args:
            title: title of the progress bar.
            num_workers: number of processes that load images, for each process.
            progress: show a progress bar.
        """
        rank, world_size = get_dist_info()
        missing = from_main_process(self.missing)
        mine = missing[rank::world_size]
        begin = time.monotonic()
        number = 0
        if mine:
            # one loader for all: its workers continue with the next part while files are written
            dataset = self.dataset(mine)
            number = len(dataset)  # type: ignore[arg-type]  # torch leaves it to subclasses
            loader = DataLoader(dataset, None, num_workers=num_workers, collate_fn=_unchanged)
            if world_size > 1:
                title = f'{title} (process 1 of {world_size})'
            hidden = not progress or rank != 0
            with tqdm(total=number, desc=title, unit='images', disable=hidden) as bar:
                images = _counted(loader, bar)
                for part in mine:
                    self.compute(part, images)
        computed = sum(of_all_ranks(number))  # waits for all
        return Progress(len(missing), computed, time.monotonic() - begin)


def from_main_process(work: Callable[[], Value]) -> Value:
    """What the main process's ``work`` returns, on all processes; its error ends all of them."""
    shared: list[Any] = [None]
    with failing_together():
        if get_dist_info()[0] == 0:
            shared = [work()]
    broadcast_object_list(shared)
    return shared[0]


def _counted(items: Iterable[Value], bar: tqdm) -> Iterator[Value]:
    for item in items:
        bar.update()
        yield item


def _unchanged(item: Any) -> Any:
    return item


def broken_lines(broken: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of a report on broken images, given as paths and reasons."""
    lines = [f'  {path}: {why}' for path, why in broken[:_BROKEN_SHOWN]]
    if len(broken) > _BROKEN_SHOWN:
        lines.append(f'  and {len(broken) - _BROKEN_SHOWN} more in {BROKEN_FILE}')
    return lines


# -- fingerprints of settings ---------------------------------------------------------------------


def weights_hash(module: nn.Module) -> str:
    """SHA-256 of all weights and statistics, their names and types."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith('num_batches_tracked'):
            continue
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def as_json(value: Any) -> Any:
    """A value as it will be read from a JSON file; what JSON has no form for becomes text."""
    return json.loads(json.dumps(value, default=str, sort_keys=True))


def without_keys(config: Any, keys: Collection[str] = ('init_cfg',)) -> Any:
    """A config without some keys at any depth; by default without where its weights come from."""
    if isinstance(config, Mapping):
        return {k: without_keys(v, keys) for k, v in config.items() if k not in keys}
    if isinstance(config, list | tuple):
        return [without_keys(value, keys) for value in config]
    return config


def refuse_other_settings(
    path: str | os.PathLike, found: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Refuse files that were made with other settings than those of this run.

    Raises:
        ValueError: settings differ; names them and the file or folder.
    """
    if differing := differences(found, wanted):
        raise ValueError(
            f'{path} was made with other settings: {", ".join(differing)} differ. Take another '
            'folder (--out), or replace its files (--overwrite).'
        )
