# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Indices of many shards, made by several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial

from mmengine.logging import MMLogger
from tqdm import tqdm

from .image_text_shards import PairsInShards
from .shard_index import index_path


def keep_indices(
    make_dataset: Callable[[str], PairsInShards], shards: Sequence[str], processes: int
) -> None:
    """Make the indices of shards that are not kept yet.

    What is wrong with a shard is not said here but by the dataset of all.

    Args:
        make_dataset: Makes a dataset of one shard.
        shards: Paths.
        processes: Their number.
    """
    context = multiprocessing.get_context('fork')
    with ProcessPoolExecutor(min(processes, len(shards)), context) as pool:
        made = pool.map(partial(_keep_index, make_dataset), shards)
        for _ in tqdm(made, desc='indices of shards', unit='shards', total=len(shards), delay=1):
            pass


def _keep_index(make_dataset: Callable[[str], PairsInShards], shard: str) -> None:
    MMLogger.get_current_instance().setLevel('CRITICAL')
    with suppress(OSError, ValueError):
        make_dataset(shard).full_init()


def upload_indices(dataset: PairsInShards) -> int:
    """Write the indices of remote shards beside them, where every machine finds them.

    Returns:
        Number of indices written.

    Raises:
        ValueError: The file backend cannot write.
    """
    remote = [shard for shard in dataset.shards if not dataset.files.is_local(shard)]
    for shard in tqdm(remote, desc='uploading', unit='indices', delay=1):
        backend = dataset.files.backend(shard)
        if not hasattr(backend, 'put'):
            raise ValueError(f'{shard}: {type(backend).__name__} cannot write files.')
        options = dataset.caption_key or ''
        with open(index_path(shard, options, dataset.index_dir(shard)), 'rb') as file:
            backend.put(file.read(), index_path(shard, options, None))
    return len(remote)
