# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Look into shards of image-text pairs: counts, sizes, lengths of captions, broken samples.

    python tools/data/inspect_image_text.py 'data/cc3m_shards/{00000..00331}.tar' --workers 8 \
        --broken data/cc3m_shards/broken.tsv
    python tools/data/inspect_image_text.py 'data/pairs/images_*.tsv' --sample 1000 \
        --sheet sheet.jpg

Makes the indices of the shards, too, if they have none yet. The file of --broken names pairs by
shard and key; ImageTextShards(exclude='broken.tsv') leaves them out, so that every other pair comes
exactly once in a pass. The image of --sheet shows random pairs with their keys and captions.
Quote patterns, so that the shell leaves them alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from regionclip_mmdet.datasets import ImageTextShards, ImageTextTSV
from regionclip_mmdet.datasets.preparation import inspect_image_text, sheet_of_pairs, write_all
from regionclip_mmdet.fileio import write_whole


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('shards', nargs='+', help='.tar or image .tsv files; braces, wildcards')
    parser.add_argument('--caption-key', help='key of the JSON that holds the caption')
    parser.add_argument('--cache-dir', help='folder for the indices (default: beside the shards)')
    parser.add_argument('--copy-dir', help='folder for copies of shards that are not local')
    parser.add_argument('--sample', type=int, help='number of pairs to look into (default: all)')
    parser.add_argument(
        '--heads', action='store_true', help='do not decode images: faster, misses damaged ones'
    )
    parser.add_argument('--workers', type=int, default=0, help='processes (default: 0, this one)')
    parser.add_argument('--broken', type=Path, help='write the broken pairs to this .tsv file')
    parser.add_argument('--sheet', type=Path, help='write an image of random pairs to this file')
    parser.add_argument('--sheet-pairs', type=int, default=24, help='its pairs (default: 24)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the choice (default: 0)')
    args = parser.parse_args()
    for name in ('sample', 'sheet_pairs'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be positive')
    if args.sheet is not None and args.sheet.suffix.lower() not in Image.registered_extensions():
        parser.error(f'--sheet: {args.sheet} needs the suffix of an image, such as .jpg')
    return args


def main() -> None:
    """Index, look, print, write."""
    args = parse_args()
    kind = ImageTextTSV if args.shards[0].endswith('.tsv') else ImageTextShards
    try:
        dataset = kind(
            args.shards,
            caption_key=args.caption_key,
            cache_dir=args.cache_dir,
            copy_dir=args.copy_dir,
            max_broken_share=1.0,
        )
        report = inspect_image_text(dataset, args.sample, not args.heads, args.workers)
        print(report)
        if args.broken is not None:
            write_all({args.broken: report.broken_lines()}, progress=False)
            print(f'written: {args.broken}')
        if args.sheet is not None:
            sheet = sheet_of_pairs(dataset, args.sheet_pairs, args.seed)
            with write_whole(args.sheet) as unfinished:  # its ending tells the format
                sheet.save(unfinished, quality=92)
            print(f'written: {args.sheet}')
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None


if __name__ == '__main__':
    main()
