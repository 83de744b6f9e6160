# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Shards of noise, a tiny localizer and the configs of a pretraining run on them."""

from __future__ import annotations

import functools
import io
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from helpers import generated_shards as made
from helpers import tiny_models

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'pretrain' / 'precompute_proposals.py'
# Height and width; two images of one size, one that is so long that its short side shrinks.
SIZES = ((60, 80), (80, 60), (60, 80), (48, 150), (64, 64), (33, 47), (60, 80))
RESIZE = dict(
    type='ResizeShortestEdgeTruncated',
    scale=96,
    max_size=200,
    interpolation='bicubic',
    backend='pillow',
)
META_KEYS = ('img_path', 'img_id', 'img_shape', 'ori_shape', 'text', 'flip')


def noise(number: int) -> bytes:
    """An image file whose pixels and size its number decides."""
    generator = np.random.default_rng(number)
    height, width = SIZES[number % len(SIZES)]
    pixels = generator.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, 'PNG')
    return buffer.getvalue()


def write_shards(
    folder: Path, sizes: tuple[int, ...] = (3, 4, 2), broken: tuple = (), shift: int = 0
) -> Path:
    """Shards of so many images; those with a number in ``broken`` cannot be decoded.

    Images are those of the numbers shifted, names and captions stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = 0
    for shard, size in enumerate(sizes):
        members = []
        for number in range(first, first + size):
            content = noise(number + shift)
            if number in broken:  # of the same length
                content = content[:60].ljust(len(content), b'\0')
            members += [
                (f'{number:09d}.png', content),
                (f'{number:09d}.txt', f'caption {number}'.encode()),
            ]
        made.write_tar(folder / f'{shard:05d}.tar', members)
        first += size
    return folder


def pipelines(flip: float = 0.0) -> tuple[list[dict], list[dict]]:
    """With a localizer, and with stored proposals."""
    moves = [RESIZE, dict(type='RandomFlip', prob=flip)]
    caption = dict(type='PickCaption')
    online = [
        dict(type='LoadImageChecked'),
        *moves,
        caption,
        dict(type='PackDetInputs', meta_keys=META_KEYS),
    ]
    stored = [
        dict(type='LoadImageChecked'),
        dict(type='LoadRegionProposals'),
        dict(type='MoveProposals', transforms=moves),
        caption,
        dict(type='PackRegionInputs', meta_keys=META_KEYS),
    ]
    return online, stored


def config(world: Path, **dataset: Any) -> Config:
    """A pretraining config without a localizer, whose variable ``localizer`` is one."""
    model = tiny_models.regionclip_config(
        world / 'clip.pth', region_text_head=dict(concept_pool=str(world / 'concepts.pth'))
    )
    model.localizer = None
    model.data_preprocessor = dict(
        type='DetDataPreprocessor',
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    )
    settings = dict(type='ImageTextShards', shards='*.tar', data_root=f'{world}/shards')
    settings.update(proposals='proposals', pipeline=pipelines()[1])
    return Config(
        dict(
            default_scope='mmdet',
            model=model,
            localizer=tiny_models.localizer(world / 'rpn.pth'),
            train_dataloader=dict(dataset=settings | dataset),
        )
    )


@functools.cache
def clip_file() -> bytes:
    """A CLIP checkpoint, made once: its vocabulary takes a while."""
    with tempfile.TemporaryDirectory() as folder:
        return tiny_models.save_clip(Path(folder) / 'clip.pth').read_bytes()


def make(world: Path, **shards: Any) -> Path:
    """Everything that the config names, but proposals; the config's file."""
    write_shards(world / 'shards', **shards)
    (world / 'clip.pth').write_bytes(clip_file())
    tiny_models.save_localizer(world / 'rpn.pth')
    tiny_models.vocabulary().save(world / 'concepts.pth')
    config(world).dump(world / 'config.py')
    return world


def run(world: Path, *arguments: object) -> None:
    """The tool in this process."""
    with pytest.MonkeyPatch.context() as patch:
        given = [str(TOOL), str(world / 'config.py'), '--workers', '0', *map(str, arguments)]
        patch.setattr(sys, 'argv', given)
        runpy.run_path(str(TOOL), run_name='__main__')


def begin(world: Path, processes: int, *arguments: object) -> subprocess.Popen:
    """The tool in processes of its own."""
    environment = dict(
        os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE'
    )
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(processes)]
    given = [str(TOOL), str(world / 'config.py'), '--launcher', 'pytorch', '--workers', '1']
    return subprocess.Popen(
        [sys.executable, *launch, *given, *map(str, arguments)],
        env=environment,
        cwd=world,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of all files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
