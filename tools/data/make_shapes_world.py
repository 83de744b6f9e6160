# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Make the shapes worlds that the quickstart trains and tests on.

Example:
    python tools/data/make_shapes_world.py data/shapes_world
    python tools/data/make_shapes_world.py data/shapes_world --splits scenes_val --num-images 500
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from PIL import Image

from regionclip_mmdet.fileio import write_whole
from regionclip_mmdet.utils.checkout import use_checkout

use_checkout(__file__, 'examples/shapes_world')

from examples.shapes_world import (  # noqa: E402
    ShapesWorldSpec,
    make_shapes_world,
    sample_image,
)

# folder name -> (kind, split, images unless told otherwise)
SPLITS: dict[str, tuple[str, str, int]] = {
    'object_centric_train': ('object_centric', 'train', 20000),
    'object_centric_val': ('object_centric', 'val', 1000),
    'scenes_train': ('scenes', 'train', 10000),
    'scenes_val': ('scenes', 'val', 1000),
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Write deterministic worlds of colored shapes: JPEG images, COCO boxes and '
        'polygons (64 categories, 48 base and 16 novel), and captions. A world that is complete '
        'already is kept; an interrupted or changed one is made again.'
    )
    parser.add_argument('root', type=Path, help='folder that gets one sub-folder per split')
    parser.add_argument(
        '--splits', nargs='+', choices=list(SPLITS), default=list(SPLITS), help='what to make'
    )
    parser.add_argument('--num-images', type=int, help='images per split (default: per split)')
    parser.add_argument('--image-size', type=int, help='side in pixels (default: 96 and 128)')
    parser.add_argument('--seed', type=int, default=0, help='seed of all splits (default: 0)')
    parser.add_argument('--workers', type=int, default=2, help='processes (default: 2)')
    parser.add_argument(
        '--contact-sheet', action='store_true', help='also write a PNG with samples of each split'
    )
    return parser.parse_args()


def write_contact_sheet(path: Path, spec: ShapesWorldSpec, columns: int = 10) -> None:
    """Tile the first images of a world into one image."""
    count = min(spec.num_images, columns * 5)
    cell = spec.image_size + 2
    sheet = Image.new('RGB', (columns * cell, -(-count // columns) * cell), 'white')
    for index in range(count):
        image, _, _ = sample_image(spec, index)
        sheet.paste(image, (index % columns * cell, index // columns * cell))
    with write_whole(path) as unfinished:
        sheet.save(unfinished)


def main() -> None:
    """Make every requested split and print where it lies."""
    args = parse_args()
    for name in args.splits:
        kind, split, num_images = SPLITS[name]
        if args.num_images is not None:
            num_images = args.num_images
        spec = ShapesWorldSpec(
            kind, num_images, image_size=args.image_size, seed=args.seed, split=split
        )
        start = time.perf_counter()
        root = make_shapes_world(args.root / name, spec, num_workers=args.workers)
        if args.contact_sheet:
            write_contact_sheet(args.root / f'{name}.png', spec)
        print(f'{root}: {spec.num_images} images, {time.perf_counter() - start:.1f} s')


if __name__ == '__main__':
    main()
