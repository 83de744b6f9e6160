# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Datasets of image-text pairs in tar shards and in TSV files."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import DATASETS
from mmengine.dist import get_world_size

from ..broken_images import MIN_SEEN, BrokenImagePolicy
from ..transforms.load_image import LoadImageChecked
from .pairs_in_shards import IndexedPairs
from .paths import find_shards
from .shard_index import ShardIndex, cached_index
from .tar_index import index_tar
from .tsv_index import decode_base64, index_tsv, text_file_of

# Failures after which a shard is given up for one sample.
_TRIES_IN_A_SHARD = 3


class ReplacementsNearby:
    """Draws from the damaged sample's own shard, which is being read and may be a distant copy.

    After every third failure it is the next shard's turn: all samples of a lost shard are replaced
    by those of one other. The choice depends on the sample and its random numbers alone, so it is
    the same after resuming.

    A lost shard is nearly everything that is seen while its group of shards is read, so
    ``max_broken_share`` is judged by the samples of a whole pass.

    Mix in before ``BrokenImagePolicy``.
    """

    _asked = 0
    _world_size = 1

    def full_init(self) -> None:
        """As in the dataset."""
        super().full_init()
        self._world_size = get_world_size()  # spawned workers do not know it

    def prepare_data(self, idx: int) -> Any:
        """As in ``BrokenImagePolicy``."""
        self._asked = idx
        return super().prepare_data(idx)

    def _rand_another(self) -> int:
        if self._chosen is not None:
            return super()._rand_another()
        shard, _ = self.place(self._asked)
        if self._in_a_row % _TRIES_IN_A_SHARD == 0:
            filled = np.flatnonzero(np.diff(self.shard_starts))
            shard = int(filled[np.searchsorted(filled, shard, side='right') % len(filled)])
        return int(np.random.randint(self.shard_starts[shard], self.shard_starts[shard + 1]))

    def _fewest_for_share(self) -> int:
        return max(MIN_SEEN, len(self) // self._world_size)


class PairsInShards(ReplacementsNearby, BrokenImagePolicy, IndexedPairs):
    """Image-text pairs in shards, any of which can be read at once, without the broken ones."""

    def __init__(
        self,
        shards: str | Sequence[str],
        *,
        skip_broken: bool = True,
        max_broken_share: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            shards=shards, skip_broken=skip_broken, max_broken_share=max_broken_share, **kwargs
        )
        for transform in self.pipeline.transforms:
            # every image would count as missing
            if isinstance(transform, LoadImageFromFile) and not isinstance(
                transform, LoadImageChecked
            ):
                raise TypeError(
                    f'{type(self).__name__}: {type(transform).__name__} looks for a file of each '
                    "image, but these are in shards. Use dict(type='LoadImageChecked')."
                )


@DATASETS.register_module()
class ImageTextShards(PairsInShards):
    """Image-text pairs in tar shards of WebDataset's layout, as img2dataset writes them.

    A pair is an image (``.jpg``, ``.jpeg``, ``.png``, ``.webp``) and a ``.txt`` or ``.json`` file
    whose name differs in the suffix alone. Map-style: the offsets of all pairs are found once and
    kept beside each shard (``00000.tar.index.npz``), so the length is exact, any sample can be
    read, and samplers and resuming work as with other datasets. ``ShardSampler`` shuffles such
    that few shards are read at a time.

    Items are those of ``ImageTextDataset``, with ``img_path`` as
    ``.../00000.tar/000000012.jpg`` and ``img_bytes``, the image file, which ``LoadImageChecked``
    decodes.

    Broken pairs (no caption, cut off) are left out, logged with shard and key, and listed by
    ``broken_pairs``. Images that turn out to be damaged follow ``BrokenImagePolicy``.

    Args:
        shards: Paths, relative to ``data_root``, with braces or wildcards:
            ``'{00000..00330}.tar'``, ``['a/*.tar', 'b/{0..9}.tar']``.
        data_root: Folder, or the address of one.
        caption_key: Take the caption from this key of the ``.json`` file (a string or a list of
            strings). None: from the ``.txt`` file, or else the key 'caption'.
        cache_dir: Folder for the indices, where shards lie on a disk that is not to be written to;
            those of remote shards are otherwise kept in ``copy_dir``.
        backend_args: mmengine file backend of the shards; None: by the prefix of each path.
        copy_dir: Folder on a local disk for copies of remote shards; needed for these alone. See
            ``ShardFiles``.
        copy_gb: Copies there together have at most so many GB (1e9 bytes).
        exclude: File of pairs to leave out, relative to ``data_root``; each line begins with the
            shard's name, a tab and the key (what ``tools/data/inspect_image_text.py`` writes).
        get_with: A command that makes or downloads the shards, for the error if some are missing.
        proposals: Folder of precomputed proposals, relative to ``data_root``; see
            ``StoredProposals``. ``LoadRegionProposals`` turns them into pixels.
        teacher_embeddings: Read a teacher's embeddings of these proposals, too.
        max_broken_share: If a larger share of pairs is broken, or of shards unreadable, it is an
            error. While training, see ``BrokenImagePolicy``.
        skip_broken: See ``BrokenImagePolicy``.
        **kwargs: As in mmengine's ``BaseDataset``, without ``ann_file``; ``filter_cfg`` and
            ``serialize_data`` have no effect.
    """

    def _index(self, shard: str) -> ShardIndex:
        return cached_index(
            [shard],
            lambda path: index_tar(path, self.caption_key),
            self.files,
            options=self.caption_key or '',
            cache_dir=self.index_dir(shard),
        )

    def _text_file(self, shard: str) -> str:
        return shard


@DATASETS.register_module()
class ImageTextTSV(PairsInShards):
    """Image-text pairs in TSV files, the layout that the official pretraining code reads.

    ``shards`` are image files (``key<TAB>base64``); to each belongs a text file of the same keys
    in the same order: ``images`` or ``image`` in its name becomes ``text``, ``img`` becomes
    ``caption``. A text is the caption, or a JSON object with a list ``captions``. Otherwise as
    ``ImageTextShards``; ``img_path`` is ``.../images_0.tsv/KEY``.

    Differences from the official code: all files of a folder can be read, not 20; other keys of
    the object (``tags``) are never drawn; for its first five captions use ``PickCaption(first=5)``.

    Args:
        shards: Image files.
        text_files: Their text files in the same order, where the names do not tell.
        caption_key: Key of the captions in the JSON objects; None: 'captions'.
        **kwargs: As in ``ImageTextShards``.
    """

    def __init__(
        self,
        shards: str | Sequence[str],
        text_files: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.text_patterns = text_files
        self._text_of: dict[str, str] = {}
        super().__init__(shards=shards, **kwargs)

    def _read_indices(self) -> list[ShardIndex]:
        if self.text_patterns is None:
            texts = [text_file_of(shard) for shard in self.shards]
            missing = [t for t in texts if self.files.is_local(t) and not osp.isfile(t)]
            if missing:
                raise FileNotFoundError(
                    f'{len(missing)} of {len(texts)} text files do not exist, e.g. {missing[0]}. '
                    'If they have other names, give text_files.'
                )
        else:
            texts = find_shards(self.text_patterns, self.data_root or '', self.files)
        if len(texts) != len(self.shards):
            raise ValueError(f'{len(self.shards)} image files, but {len(texts)} text files.')
        self._text_of = dict(zip(self.shards, texts))
        return super()._read_indices()

    def _index(self, shard: str) -> ShardIndex:
        text = self._text_of[shard]
        return cached_index(
            [shard, text],
            lambda *paths: index_tsv(*paths, self._key()),
            self.files,
            options=self.caption_key or '',
            cache_dir=self.index_dir(shard),
        )

    def _text_file(self, shard: str) -> str:
        return self._text_of[shard]

    def _key(self) -> str:
        return self.caption_key or 'captions'

    def _decode(self, content: bytes) -> bytes:
        return decode_base64(content)
