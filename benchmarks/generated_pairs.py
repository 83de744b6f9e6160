# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Image-text shards of realistic size, to time loading without data."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

DISTINCT = 32
QUALITY = 90
# Files of 640 x 480 then have about 130 kB; a mean COCO image has about 150.
FALL = 1.3
CAPTION = 'a photo of a dog that runs after a ball on the beach'


def natural_noise(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Noise with the spectrum of photographs: amplitude falls with frequency.

    Returns:
        uint8 ``(height, width, 3)``; the channels share most of their content.
    """
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    damping = np.hypot(rows, columns) ** FALL
    damping[0, 0] = np.inf  # no mean
    fields = []
    for _ in range(4):
        white = np.fft.rfft2(generator.standard_normal((height, width)))
        field = np.fft.irfft2(white / damping, (height, width))
        fields.append(field / field.std())
    gray, *colors = fields
    mixed = np.stack([gray + 0.3 * color for color in colors], axis=-1)
    return np.clip(128 + 55 * mixed, 0, 255).astype(np.uint8)


def write_generated_pairs(
    folder: Path, number: int, height: int = 480, width: int = 640, shards: int = 4, seed: int = 0
) -> float:
    """Write ``00000.tar``, ... of JPEG images (quality 90) with captions.

    Of the images 32 differ; more would take long to make and load as fast.

    Args:
        folder: Existing folder.
        number: Pairs, over all shards.
        height: Of each image.
        width: Of each image.
        shards: Number of shards.
        seed: Of the noise.

    Returns:
        Mean size of an image file in kB (1000 bytes).
    """
    generator = np.random.default_rng(seed)
    files = []
    for _ in range(min(number, DISTINCT)):
        buffer = io.BytesIO()
        image = Image.fromarray(natural_noise(height, width, generator))
        image.save(buffer, 'JPEG', quality=QUALITY)
        files.append(buffer.getvalue())
    for shard, keys in enumerate(np.array_split(np.arange(number), shards)):
        with tarfile.open(folder / f'{shard:05d}.tar', 'w') as archive:
            for key in keys.tolist():
                for suffix, content in (
                    ('jpg', files[key % len(files)]),
                    ('txt', CAPTION.encode()),
                ):
                    info = tarfile.TarInfo(f'{key:09d}.{suffix}')
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return float(np.mean([len(file) for file in files])) / 1e3
