# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Parameters of a shapes world."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

# Raise this whenever the same parameters start to give other files.
GENERATOR_VERSION = 1

KIND_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    # what a web-trained CLIP sees: mostly one large object
    'object_centric': {
        'image_size': 96,
        'object_counts': (1, 2),
        'count_weights': (0.8, 0.2),
        'object_size': (40.0, 80.0),
    },
    # what a detector sees: several small objects
    'scenes': {
        'image_size': 128,
        'object_counts': (3, 4, 5, 6),
        'count_weights': (0.25, 0.25, 0.25, 0.25),
        'object_size': (16.0, 44.0),
    },
}


@dataclasses.dataclass(frozen=True)
class ShapesWorldSpec:
    """Everything that decides what a shapes world contains.

    Two equal specs give byte-equal files. Fields left at ``None`` take the defaults of ``kind``.

    Args:
        kind: 'object_centric' (one, sometimes two, large objects) or 'scenes' (several small).
        num_images: Number of images.
        image_size: Side of the square images in pixels.
        seed: Seed of the whole world; every image draws from (seed, kind, split, index).
        split: Name mixed into the seed, so that 'train' and 'val' never share an image.
        object_counts: Possible numbers of objects per image.
        count_weights: Probability of each of ``object_counts``.
        object_size: Smallest and largest longer box side in pixels.
        max_overlap: Largest allowed intersection of two boxes over the smaller box.
        captions_per_image: Smallest and largest number of captions per image.
        min_contrast: Smallest allowed distance between object and background colors.
        color_jitter: Largest change of each RGB channel of an object.
        supersample: Anti-aliasing factor of the object masks.
        jpeg_quality: Quality of the written JPEG files.
    """

    kind: str
    num_images: int
    image_size: int | None = None
    seed: int = 0
    split: str = 'train'
    object_counts: tuple[int, ...] | None = None
    count_weights: tuple[float, ...] | None = None
    object_size: tuple[float, float] | None = None
    max_overlap: float = 0.1
    captions_per_image: tuple[int, int] = (2, 3)
    min_contrast: float = 150.0
    color_jitter: int = 14
    supersample: int = 3
    jpeg_quality: int = 92

    def __post_init__(self) -> None:
        if self.kind not in KIND_DEFAULTS:
            raise ValueError(
                f'ShapesWorldSpec: unknown kind {self.kind!r}; choose from {list(KIND_DEFAULTS)}'
            )
        counts_given = self.object_counts is not None
        for name, value in KIND_DEFAULTS[self.kind].items():
            if getattr(self, name) is None and not (name == 'count_weights' and counts_given):
                object.__setattr__(self, name, value)
        if self.count_weights is None:
            object.__setattr__(self, 'count_weights', (1.0,) * len(self.object_counts or ()))
        # lists come from configs and command lines
        for name in ('object_counts', 'count_weights', 'object_size', 'captions_per_image'):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check()

    def _check(self) -> None:
        problems = []
        if self.num_images < 1:
            problems.append(f'num_images must be positive, got {self.num_images}')
        if len(self.count_weights) != len(self.object_counts) or min(self.object_counts) < 1:
            problems.append('object_counts must be positive, with one weight for each')
        low, high = self.object_size
        if not 4 <= low <= high <= self.image_size - 4:
            problems.append(
                f'object_size {self.object_size} must lie in 4..image_size - 4 = '
                f'{self.image_size - 4}'
            )
        first, last = self.captions_per_image
        if not 1 <= first <= last:
            problems.append(f'captions_per_image {self.captions_per_image} must be 1 <= a <= b')
        if problems:
            raise ValueError('ShapesWorldSpec: ' + '; '.join(problems))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready parameters, lists instead of tuples."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
