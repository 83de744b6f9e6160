# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Find the regions of a folder of images that are most like some words.

    python tools/extract_region_features.py CONFIG CHECKPOINT photos/ --out features
    python tools/search_regions.py features --texts 'red circle . blue square' \
        --model CONFIG CHECKPOINT --top 12 --out found.jpg

FEATURES is what tools/extract_region_features.py wrote. Names are embedded by the text encoder of
--model, which must be the model that made the features. --model is not needed if --texts is a file
of embeddings (.pth), or if the features were made with these names.

Printed is a table in descending order of the cosine; --out draws the regions, those of each name
together. The best regions are listed whether or not they show what is searched for: a cosine says
which regions fit better, not whether one fits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
from PIL import Image

from regionclip_mmdet import features
from regionclip_mmdet.apis import RegionCLIPInferencer, parse_vocabulary
from regionclip_mmdet.fileio import write_whole
from regionclip_mmdet.models.text import TextEmbeddings


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('features', metavar='FEATURES', help='folder of region features')
    parser.add_argument(
        '--texts',
        required=True,
        help="what to look for: 'red circle . blue square', a text file with a name a line, or a "
        'file of embeddings (.pth)',
    )
    parser.add_argument(
        '--model',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='the model that made the features, for its text encoder',
    )
    parser.add_argument(
        '--text-encoder',
        metavar='FILE',
        help='CLIP weights to embed --texts with, where the checkpoint has no text encoder',
    )
    parser.add_argument('--device', default='cpu', help='of the text encoder (default: cpu)')
    parser.add_argument('--top', type=int, default=12, help='regions of each name (default: 12)')
    parser.add_argument(
        '--one-per-image', action='store_true', help='only the best region of an image'
    )
    parser.add_argument('--out', metavar='FILE', help='draw the regions into this file')
    parser.add_argument(
        '--columns', type=int, default=6, help='regions in a row of the visualization (default: 6)'
    )
    parser.add_argument(
        '--image-root', metavar='FOLDER', help='where the images are now, if they were moved'
    )
    args = parser.parse_args()
    if args.top < 1 or args.columns < 1:
        parser.error('--top and --columns must be positive')
    if args.out is not None and Path(args.out).suffix.lower() not in Image.registered_extensions():
        parser.error(f'--out {args.out} is no image file: its name must end in .jpg or .png')
    return args


def vocabulary_of(args: argparse.Namespace) -> TextEmbeddings:
    """Embeddings of what is looked for."""
    names = parse_vocabulary(args.texts)
    if isinstance(names, TextEmbeddings):
        return names
    if args.model is not None:
        config, checkpoint = args.model
        inferencer = RegionCLIPInferencer(
            config, checkpoint, args.device, text_encoder=args.text_encoder
        )
        return inferencer.vocabulary(names)
    stored = features.stored_vocabulary(args.features, names)
    if stored is None:
        raise ValueError(
            'these names were not given when the features were made, so they must be embedded: add '
            '--model CONFIG CHECKPOINT, the model that made the features.'
        )
    return stored


def main() -> None:
    """Search, print and draw."""
    args = parse_args()
    try:
        found = features.search_folder(
            args.features, vocabulary_of(args), args.top, args.one_per_image, args.image_root
        )
        print(features.as_table(found), flush=True)
        if args.out is not None:
            visualization = features.draw_hits(found, args.columns)
            with write_whole(args.out) as unfinished:  # its ending tells the format
                visualization.save(unfinished)
            print(f'{args.out} shows them', flush=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise SystemExit(f'Nothing was found: {error}') from None


if __name__ == '__main__':
    main()
