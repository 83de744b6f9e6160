# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reading region features."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .folder import MANIFEST, Manifest
from .npz_store import REGION_ARRAYS, part_name, read_part

_OF_REGIONS = (*REGION_ARRAYS, 'embeddings', 'norms')
_OF_IMAGES = ('image_paths', 'image_ids', 'image_sizes')


@dataclass(frozen=True, eq=False)
class RegionFeatures:
    """``N`` regions of ``n`` images, and how they were made.

    Attributes:
        manifest: Settings, names (of ``top_labels``), label names (of ``labels``).
        image_paths: str ``(n,)``, relative to ``image_root``.
        image_ids: int64 ``(n,)``.
        image_sizes: int32 ``(n, 2)``, height and width; 0 for broken images.
        image_root: Folder of the images.
        starts: int64 ``(n + 1,)``: the regions of image ``i`` are ``starts[i]`` to
            ``starts[i + 1]``.
        boxes: float32 ``(N, 4)``, x1 y1 x2 y2 in pixels of the original image.
        objectness: float32 ``(N,)``, raw logits of the localizer; NaN: not known.
        scores: float32 ``(N,)``, what the regions were selected by; NaN: none.
        labels: int32 ``(N,)``, class of a detection or given box; -1: none.
        box_ids: int64 ``(N,)``, of given boxes in their file; -1: none.
        top_labels: int32 ``(N, T)``, best names.
        top_scores: float32 ``(N, T)``, their probabilities.
        embeddings: float16 or float32 ``(N, D)``, of length 1.
        norms: float32 ``(N,)``, lengths of the raw embeddings.
        broken: Path and reason of each image that could not be read.
    """

    manifest: Manifest
    image_paths: np.ndarray
    image_ids: np.ndarray
    image_sizes: np.ndarray
    image_root: str
    starts: np.ndarray
    boxes: np.ndarray
    objectness: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    box_ids: np.ndarray
    top_labels: np.ndarray
    top_scores: np.ndarray
    embeddings: np.ndarray
    norms: np.ndarray
    broken: Sequence[tuple[str, str]]

    def __len__(self) -> int:
        """Number of regions."""
        return len(self.boxes)

    @property
    def normalized(self) -> np.ndarray:
        """Embeddings of length 1, float32 ``(N, D)``."""
        return self.embeddings.astype(np.float32, copy=False)

    @property
    def raw(self) -> np.ndarray:
        """Embeddings as the model makes them, float32 ``(N, D)``, with the rounding of the file."""
        return self.normalized * self.norms[:, None]

    @property
    def image_inds(self) -> np.ndarray:
        """Which image each region lies in, int64 ``(N,)``."""
        return np.repeat(np.arange(len(self.image_paths)), np.diff(self.starts))

    def of_image(self, number: int) -> slice:
        """The rows of an image's regions."""
        return slice(int(self.starts[number]), int(self.starts[number + 1]))

    def full_path(self, number: int) -> str:
        """Where an image lies."""
        return osp.join(self.image_root, str(self.image_paths[number]))


def read_region_features(
    folder: str | os.PathLike, image_root: str | os.PathLike | None = None
) -> RegionFeatures:
    """Read a folder of region features into memory.

    Args:
        folder: folder that ``extract_region_features`` has written.
        image_root: folder of the images now; None: as they were.

    Raises:
        FileNotFoundError: It is no such folder.
        ValueError: Files are missing, damaged, or of other settings.
    """
    parts = list(iter_region_features(folder, image_root))
    lengths = np.concatenate([np.diff(part.starts) for part in parts])
    joined = {
        key: np.concatenate([getattr(part, key) for part in parts])
        for key in (*_OF_IMAGES, *_OF_REGIONS)
    }
    return RegionFeatures(
        manifest=parts[0].manifest,
        image_root=parts[0].image_root,
        starts=np.cumsum([0, *lengths], dtype=np.int64),
        broken=[image for part in parts for image in part.broken],
        **joined,
    )


def iter_region_features(
    folder: str | os.PathLike, image_root: str | os.PathLike | None = None
) -> Iterator[RegionFeatures]:
    """As ``read_region_features``, file by file: no more than one of them is in memory.

    Raises:
        FileNotFoundError, ValueError: As there; before the first file is read, if any is missing.
    """
    folder = os.fspath(folder)
    manifest = Manifest.read(folder)
    described = osp.join(folder, MANIFEST)
    kind = manifest.settings.get('file_format')
    if kind != 'npz':
        raise ValueError(
            f'{described} says that the files are of the format {kind!r}; only npz is read here. '
            "Files of the format 'official', one of each image, are read with torch.load."
        )
    present = {name for name in os.listdir(folder) if osp.isfile(osp.join(folder, name))}
    numbers = range(manifest.parts)
    # stops at the first, however many are said to be there
    missing = next((n for n in numbers if part_name(n) not in present), None)
    if missing is not None:
        there = sum(part_name(number) in present for number in range(min(len(numbers), 10**6)))
        raise ValueError(
            f'{folder} is not complete: {len(numbers) - there} of {len(numbers)} files are '
            f'missing, the first is {part_name(missing)}. Run tools/extract_region_features.py '
            f'again ({described} says how many there are).'
        )
    root = manifest.image_root if image_root is None else os.fspath(image_root)
    for path in (osp.join(folder, part_name(number)) for number in numbers):
        arrays, meta = read_part(path)
        if meta['settings_sha256'] != manifest.settings_sha256:
            raise ValueError(
                f'{path} was made with other settings than {described} says. Run '
                'tools/extract_region_features.py again.'
            )
        yield RegionFeatures(
            manifest=manifest,
            image_root=root,
            starts=arrays['starts'],
            broken=[(image, why) for _, image, why in meta['broken']],
            **{key: arrays[key] for key in (*_OF_IMAGES, *_OF_REGIONS)},
        )
