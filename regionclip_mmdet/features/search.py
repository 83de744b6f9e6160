# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Text to regions: which regions of a folder are most like a name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..models.text import TextEmbeddings
from .folder import NAMES_FILE
from .images import printable
from .reader import RegionFeatures, iter_region_features
from .regions import normalized

# Cosines that are held at a time.
COSINES_AT_A_TIME = 2**22


@dataclass(frozen=True)
class Hit:
    """A region that was found.

    Attributes:
        name: class name that was searched for.
        rank: rank of the region; 1 is the best.
        cosine: cosine of region and text embedding.
        path: path of the image relative to the root.
        full_path: path of the image.
        image_id: id of the image.
        box: x1 y1 x2 y2 in pixels of the image.
        region: row among all regions of the folder.
    """

    name: str
    rank: int
    cosine: float
    path: str
    full_path: str
    image_id: int
    box: tuple[float, float, float, float]
    region: int


def search_regions(
    features: RegionFeatures | Iterable[RegionFeatures],
    vocabulary: TextEmbeddings,
    top: int = 12,
    one_per_image: bool = False,
) -> list[list[Hit]]:
    """The regions of greatest cosine with each name.

    Args:
        features: all at once, or file by file (``iter_region_features``).
        vocabulary: ``K`` class names, embedded by the text encoder of the regions' model.
        top: number of regions per name.
        one_per_image: only the best region of an image.

    Returns:
        ``K`` lists in descending order of the cosine; of equal ones the first region comes first.

    Raises:
        ValueError: the vocabulary has another embedding dimension than the regions.
    """
    if top < 1:
        raise ValueError(f'top must be positive, not {top}.')
    texts = normalized(vocabulary.matrix.cpu().numpy())[0]
    found: list[list[Hit]] = [[] for _ in vocabulary.names]
    first = 0
    for part in [features] if isinstance(features, RegionFeatures) else features:
        dim = part.manifest.embed_dim
        if vocabulary.embed_dim != dim:
            raise ValueError(
                f'the embeddings of the names are {vocabulary.embed_dim}-dimensional, those of the '
                f'regions {dim}-dimensional: use the text encoder of the same CLIP model.'
            )
        inds = part.image_inds
        for start in range(0, len(part), step := max(COSINES_AT_A_TIME // len(texts), 1)):
            rows = slice(start, start + step)
            # only these in float32: all of a file at every step would take longer than the rest
            cosines = part.embeddings[rows].astype(np.float32) @ texts.T
            for number, (name, column) in enumerate(zip(vocabulary.names, cosines.T)):
                hits = found[number]
                # a later region of equal cosine comes behind, so it must be greater to count
                floor = hits[-1].cosine if len(hits) == top else -np.inf
                worthwhile = np.flatnonzero(column > floor)
                if len(worthwhile) == 0:
                    continue
                best = _best(column[worthwhile], inds[rows][worthwhile], top, one_per_image)
                new = [
                    _hit(part, name, start + int(row), float(column[row]), first)
                    for row in worthwhile[best]
                ]
                found[number] = _merge([*hits, *new], top, one_per_image)
        first += len(part)
    return found


def _best(cosines: np.ndarray, images: np.ndarray, top: int, one_per_image: bool) -> np.ndarray:
    """Rows of the greatest cosines, greatest first."""
    order = np.argsort(-cosines, kind='stable')
    if one_per_image:
        _, firsts = np.unique(images[order], return_index=True)
        order = order[np.sort(firsts)]
    return order[:top]


def _hit(part: RegionFeatures, name: str, row: int, cosine: float, first: int) -> Hit:
    image = int(np.searchsorted(part.starts, row, side='right')) - 1
    return Hit(
        name=name,
        rank=0,
        cosine=cosine,
        path=str(part.image_paths[image]),
        full_path=part.full_path(image),
        image_id=int(part.image_ids[image]),
        box=tuple(part.boxes[row].tolist()),
        region=first + row,
    )


def _merge(hits: Sequence[Hit], top: int, one_per_image: bool) -> list[Hit]:
    merged: list[Hit] = []
    seen: set[str] = set()
    for hit in sorted(hits, key=lambda hit: (-hit.cosine, hit.region)):
        if one_per_image and hit.path in seen:
            continue
        seen.add(hit.path)
        merged.append(replace(hit, rank=len(merged) + 1))
    return merged[:top]


def stored_vocabulary(folder: str | os.PathLike, names: Sequence[str]) -> TextEmbeddings | None:
    """Embeddings of names that were given when the features were made; None if one was not."""
    path = os.path.join(folder, NAMES_FILE)
    if not os.path.isfile(path):
        return None
    stored = TextEmbeddings.load(path)
    return stored.select(names) if set(names) <= set(stored.names) else None


def search_folder(
    folder: str | os.PathLike,
    vocabulary: TextEmbeddings,
    top: int = 12,
    one_per_image: bool = False,
    image_root: str | os.PathLike | None = None,
) -> list[list[Hit]]:
    """``search_regions`` in a folder of features, with one of its files in memory at a time."""
    return search_regions(iter_region_features(folder, image_root), vocabulary, top, one_per_image)


def as_table(found: Sequence[Sequence[Hit]]) -> str:
    """Hits as lines of text."""
    lines = [f'{"name":<24} {"rank":>4} {"cosine":>7}  image, box (x1 y1 x2 y2)']
    for hits in found:
        for hit in hits:
            box = ' '.join(f'{value:.0f}' for value in hit.box)
            lines.append(
                f'{hit.name:<24} {hit.rank:>4} {hit.cosine:>7.3f}  {printable(hit.path)}, {box}'
            )
    return '\n'.join(lines)
