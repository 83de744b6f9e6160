# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Make the 20 images of docs/custom_dataset.md, with COCO files of names of their own.

Example:
    python tools/data/make_example_dataset.py data/example
"""

import argparse
from pathlib import Path

from regionclip_mmdet.utils.checkout import use_checkout

use_checkout(__file__, 'examples/shapes_world')

from examples.shapes_world.example import make_example_dataset  # noqa: E402


def main() -> None:
    """Make them and print where they lie."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='folder to create')
    parser.add_argument('--seed', type=int, default=0, help='of all images (default: 0)')
    args = parser.parse_args()
    try:
        root = make_example_dataset(args.root, args.seed)
    except OSError as error:
        raise SystemExit(f'{type(error).__name__}: {error}') from None
    for part in ('train', 'val'):
        images = len(list((root / part).glob('*.jpg')))
        print(f'{root / part}: {images} images; boxes in {root / "annotations" / part}.json')


if __name__ == '__main__':
    main()
