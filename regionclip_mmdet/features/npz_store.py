# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files of region features of many images each, this project's format."""

from __future__ import annotations

import json
import os
import os.path as osp
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.shards import save_whole
from ..fileio import parse_json, read_npz
from .folder import FORMAT, VERSION, FeatureStore, Part, Totals
from .images import ImageList
from .regions import ImageRegions, normalized

# Each array of regions: type, and how many numbers per region; None: D or T.
REGION_ARRAYS: Mapping[str, tuple[str, int | None]] = {
    'boxes': ('float32', 4),
    'objectness': ('float32', 0),
    'scores': ('float32', 0),
    'labels': ('int32', 0),
    'box_ids': ('int64', 0),
    'top_labels': ('int32', None),
    'top_scores': ('float32', None),
}
# what a file has besides ``meta``
_OF_IMAGES = ('image_paths', 'image_ids', 'image_bytes', 'image_sizes', 'starts')
_ARRAYS = (*_OF_IMAGES, *REGION_ARRAYS, 'embeddings', 'norms')
_REMEDY = 'Delete it and run tools/extract_region_features.py again: it makes what is missing'


def part_name(number: int) -> str:
    """Name of a file."""
    return f'regions-{number:05d}.npz'


def write_part(
    path: str | os.PathLike,
    found_images: Mapping[str, np.ndarray],
    regions: Sequence[ImageRegions | None],
    broken: Mapping[int, str],
    width: int,
    top: int,
    dtype: str,
    settings_sha256: str,
) -> None:
    """Write a file, whole or not at all; its bytes depend on the arguments alone.

    The file is an uncompressed ``.npz`` of, for ``n`` images with ``N`` regions together,

    * ``image_paths`` str ``(n,)``, ``image_ids`` int64 ``(n,)``, ``image_bytes`` int64 ``(n,)``:
      of the image files, ``image_sizes`` int32 ``(n, 2)``: height and width, 0 if broken;
    * ``starts`` int64 ``(n + 1,)``: the regions of image ``i`` are the rows ``starts[i]`` to
      ``starts[i + 1]`` of all that follows;
    * ``boxes``, ``objectness``, ``scores``, ``labels``, ``box_ids``, ``top_labels``,
      ``top_scores``: see ``ImageRegions``;
    * ``embeddings`` ``(N, D)``, float16 or float32, of length 1, and ``norms`` float32 ``(N,)``,
      the lengths of the raw ones;
    * ``meta``: a JSON object with ``format``, ``version``, ``settings_sha256``, ``broken`` (row,
      path, reason) and ``dropped`` (row, how many given boxes had no area within the image).

    Args:
        path: path of the file.
        found_images: what the file says of its images, see ``describe_images``.
        regions: regions of each image; None if it is broken.
        broken: reason by row of each broken image.
        width: dimension ``D`` of the embeddings.
        top: number ``T`` of best names.
        dtype: type of the stored embeddings.
        settings_sha256: hash of what the regions depend on.
    """
    whole = [part for part in regions if part is not None]
    arrays: dict[str, np.ndarray] = {}
    for key, (kind, columns) in REGION_ARRAYS.items():
        shape = (0,) if columns == 0 else (0, top if columns is None else columns)
        parts = [np.zeros(shape, kind), *(getattr(part, key) for part in whole)]
        arrays[key] = np.concatenate(parts).astype(kind, copy=False)
    raw = np.concatenate([np.zeros((0, width), np.float32), *(part.embeddings for part in whole)])
    embeddings, norms = normalized(raw)
    sizes = [(0, 0) if part is None else part.size for part in regions]
    paths = found_images['image_paths']
    meta = dict(
        format=FORMAT,
        version=VERSION,
        settings_sha256=settings_sha256,
        broken=[[row, str(paths[row]), why] for row, why in sorted(broken.items())],
        dropped=[[row, part.dropped] for row, part in enumerate(regions) if part and part.dropped],
    )
    lengths = [0 if part is None else len(part) for part in regions]
    save_whole(
        path,
        **found_images,
        image_sizes=np.array(sizes, dtype=np.int32).reshape(-1, 2),
        starts=np.cumsum([0, *lengths], dtype=np.int64),
        **arrays,
        embeddings=embeddings.astype(dtype),
        norms=norms,
        meta=np.array(json.dumps(meta)),
    )


def describe_images(images: ImageList, rows: Sequence[int]) -> dict[str, np.ndarray]:
    """What a file says of its images: another image of the same name gives itself away."""
    entries = [images.entries[row] for row in rows]
    paths = [images.full_path(row) for row in rows]
    sizes = [osp.getsize(path) if osp.isfile(path) else -1 for path in paths]
    return dict(
        image_paths=np.array([entry.path for entry in entries], dtype=str),
        image_ids=np.array([entry.id for entry in entries], dtype=np.int64),
        image_bytes=np.array(sizes, dtype=np.int64),
    )


def read_part(
    path: str | os.PathLike, only: Sequence[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and ``meta`` of a file.

    Args:
        path: path of the file.
        only: names of the arrays that are wanted; None: all.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged, no file of region features, or of a later version.
    """
    what, remedy = 'file of region features', _REMEDY
    arrays = read_npz(path, what, remedy, () if only is None else ('meta', *only))
    text = str(arrays.pop('meta', ''))
    meta = parse_json(text, path, what, remedy) if text else None
    if not isinstance(meta, dict) or meta.get('format') != FORMAT:
        raise ValueError(f'{path} is no file of region features (no format={FORMAT!r} inside).')
    version = meta.get('version')
    if not isinstance(version, int) or version > VERSION:
        raise ValueError(
            f'{path} has format version {version}, this release reads up to {VERSION}; '
            'update regionclip_mmdet.'
        )
    wanted = _ARRAYS if only is None else only
    lacking = [name for name in wanted if name not in arrays]
    lacking += [name for name in ('settings_sha256', 'broken') if name not in meta]
    if lacking:
        raise ValueError(f'{path} lacks {", ".join(lacking)}. {remedy}.')
    if not all(isinstance(row, list) and len(row) == 3 for row in meta['broken']):
        raise ValueError(f'{path} lists broken images in another way. {remedy}.')
    return arrays, meta


class NpzStore(FeatureStore):
    """Files of many images each; see ``write_part``."""

    def _missing(self) -> list[Part]:
        """Parts whose files are not there, damaged, of other settings or of other images."""
        return [part for part in self.parts if not self._is_done(part)]

    def _is_done(self, part: Part) -> bool:
        wanted = describe_images(self.images, part.rows)
        try:
            arrays, meta = read_part(osp.join(self.folder, part_name(part.number)), tuple(wanted))
        except (FileNotFoundError, ValueError):
            return False
        same = all(np.array_equal(arrays[key], value) for key, value in wanted.items())
        return same and meta['settings_sha256'] == self.manifest.settings_sha256

    def _write(
        self, part: Part, regions: Sequence[ImageRegions | None], broken: Mapping[int, str]
    ) -> None:
        settings = self.manifest.settings
        write_part(
            osp.join(self.folder, part_name(part.number)),
            describe_images(self.images, part.rows),
            regions,
            broken,
            self.manifest.embed_dim,
            min(settings['top'], len(self.manifest.names)),
            settings['dtype'],
            self.manifest.settings_sha256,
        )

    def _totals(self, broken: Sequence[tuple[str, str]]) -> Totals:
        for file in Path(self.folder).glob('regions-*.npz'):  # of images no longer in the list
            number = file.stem.removeprefix('regions-')
            if number.isdigit() and int(number) >= len(self.parts):
                file.unlink()
        broken = []  # of earlier runs, too
        regions = dropped = 0
        for part in self.parts:
            path = osp.join(self.folder, part_name(part.number))
            arrays, meta = read_part(path, ('starts',))
            regions += int(arrays['starts'][-1])
            dropped += sum(count for _, count in meta['dropped'])
            broken += [(image, why) for _, image, why in meta['broken']]
        return Totals(broken, regions, dropped)
