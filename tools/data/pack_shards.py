# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Pack images with captions into tar shards, for ImageTextShards.

    python tools/data/pack_shards.py data/cc3m/train.jsonl data/cc3m_shards \
        --images data/cc3m/images
    python tools/data/pack_shards.py data/coco/annotations/captions_train2017.json \
        data/coco_caption_shards --images data/coco/train2017 --seed 0

Reads the caption files that ImageTextDataset reads (COCO captions .json, or .jsonl) and writes
00000.tar, 00001.tar, ... in WebDataset's layout. Image files are copied as they are. After an
interruption the same command goes on with the shards that are missing. Read the result with

    dataset = dict(type='ImageTextShards', data_root='data/cc3m_shards/', shards='*.tar', ...)

and, where images have several captions, caption_key='captions'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from regionclip_mmdet.datasets import ImageTextDataset
from regionclip_mmdet.datasets.preparation import pack_shards


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('captions', type=Path, help='.json (COCO captions) or .jsonl file')
    parser.add_argument('out', type=Path, help='folder for the shards')
    parser.add_argument(
        '--images', type=Path, help='image folder (default: the folder of the caption file)'
    )
    parser.add_argument('--per-shard', type=int, default=10000, help='pairs (default: 10000)')
    parser.add_argument('--seed', type=int, help='mix the pairs over all shards')
    parser.add_argument(
        '--check', action='store_true', help='decode images, leave out damaged ones'
    )
    args = parser.parse_args()
    if args.per_shard < 1:
        parser.error('--per-shard must be positive')
    return args


def main() -> None:
    """Read the captions, write the shards, print the counts."""
    args = parse_args()
    try:
        items = ImageTextDataset(
            str(args.captions.resolve()),
            data_prefix=dict(img_path=str((args.images or args.captions.parent).resolve())),
        )
        report = pack_shards(items, args.out, args.per_shard, args.seed, args.check)
    except (OSError, ValueError, TypeError) as error:
        raise SystemExit(f'{args.out} is not complete: {error}') from None
    print(f'{args.out}: {report}')


if __name__ == '__main__':
    main()
