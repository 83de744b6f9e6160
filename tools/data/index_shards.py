# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Make the indices of image-text shards before the first run needs them.

    python tools/data/index_shards.py 'data/cc3m_shards/*.tar' --processes 8
    python tools/data/index_shards.py 's3://bucket/cc3m/{00000..00331}.tar' --processes 8 \
        --copy-dir /local/shard_copies --upload

An index lies beside its shard, or in --cache-dir. Shards that are not local are fetched once for
it; --upload then writes the indices beside them, so that no other machine fetches a shard before it
reads samples of it. Kept indices are left alone: after an interruption the same command goes on.
Quote patterns, so that the shell leaves them alone.
"""

from __future__ import annotations

import argparse
from functools import partial

from mmengine.config import DictAction

from regionclip_mmdet.datasets import ImageTextShards, ImageTextTSV
from regionclip_mmdet.datasets.shards import ShardFiles, find_shards, keep_indices, upload_indices


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('shards', nargs='+', help='.tar or image .tsv files; braces, wildcards')
    parser.add_argument('--processes', type=int, default=1, help='(default: 1)')
    parser.add_argument('--caption-key', help='key of the JSON that holds the caption')
    parser.add_argument('--cache-dir', help='folder for the indices (default: beside the shards)')
    parser.add_argument('--copy-dir', help='folder for copies of shards that are not local')
    parser.add_argument('--copy-gb', type=float, default=100.0, help='room there (default: 100)')
    parser.add_argument(
        '--backend-args', nargs='+', action=DictAction, help='file backend: backend=petrel ...'
    )
    parser.add_argument('--upload', action='store_true', help='write them beside remote shards')
    args = parser.parse_args()
    if args.processes < 1:
        parser.error('--processes must be positive')
    return args


def main() -> None:
    """Make the indices, print the counts."""
    args = parse_args()
    access = dict(backend_args=args.backend_args, copy_dir=args.copy_dir, copy_gb=args.copy_gb)
    make = partial(
        ImageTextTSV if args.shards[0].endswith('.tsv') else ImageTextShards,
        caption_key=args.caption_key,
        cache_dir=args.cache_dir,
        max_broken_share=1.0,
        **access,
    )
    try:
        if args.processes > 1:
            keep_indices(make, find_shards(args.shards, '', ShardFiles(**access)), args.processes)
        dataset = make(args.shards)
        broken = dataset.broken_pairs()
        print(f'{len(dataset.shards)} shards, {len(dataset)} pairs, {len(broken)} broken ones')
        if args.upload:
            print(f'{upload_indices(dataset)} indices uploaded')
    except (OSError, RuntimeError, ValueError) as error:
        raise SystemExit(str(error)) from None


if __name__ == '__main__':
    main()
