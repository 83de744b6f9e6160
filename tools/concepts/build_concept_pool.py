# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Make a concept pool: the nouns that captions name often, with their counts.

    python tools/concepts/build_concept_pool.py \
        data/coco/annotations/captions_train2017.json -o data/vocabularies/coco_nouns.txt
    python tools/embed_names.py data/vocabularies/coco_nouns.txt --arch RN50 \
        -o data/vocabularies/coco_nouns_rn50.pth --cache

Reads COCO captions (.json), JSON lines (.jsonl), plain text with a caption per line (.txt), tar
shards (.tar) and TSV files (.tsv; both with quoted braces or wildcards: 'cc3m/{00000..00331}.tar').
Writes a line "name<TAB>count" per concept, the most frequent first; the file is the same for any
number of processes. Compare it with another pool, also an official one, by --compare; without
captions, the pool that -o names is compared as it is. docs/concepts.md says more.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from regionclip_mmdet.concepts import (
    BACKENDS,
    KINDS,
    CaptionFiles,
    compare_pools,
    count_concepts,
    make_backend,
    read_pool,
    write_pool,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('captions', nargs='*', help='caption files')
    parser.add_argument('-o', '--out', type=Path, required=True, metavar='POOL.txt')
    parser.add_argument(
        '--min-count', type=int, default=100, help='leave out what is named less often'
    )
    parser.add_argument(
        '--kind',
        choices=KINDS,
        default='words',
        help="count nouns one by one, runs of nouns ('fire truck') as phrases, or both",
    )
    parser.add_argument('--backend', choices=sorted(BACKENDS), default='textblob')
    parser.add_argument('--spacy-model', default='en_core_web_sm', metavar='NAME')
    parser.add_argument(
        '--processes', type=int, default=len(os.sched_getaffinity(0)), help='default: all CPUs'
    )
    parser.add_argument(
        '--caption-key',
        metavar='KEY',
        help="of the JSON objects in shards (default: 'caption', "
        "after the .txt file) and TSV files ('captions')",
    )
    parser.add_argument(
        '--cache-dir', metavar='FOLDER', help='for the indices of shards (default: beside them)'
    )
    parser.add_argument(
        '--copy-dir', metavar='FOLDER', help='for copies of shards that are not local'
    )
    parser.add_argument('--compare', type=Path, metavar='OTHER.txt', help='report the overlap')
    args = parser.parse_args()
    if args.out.suffix != '.txt':
        parser.error(f'--out {args.out}: the name must end with .txt')
    if not args.captions and args.compare is None:
        parser.error('give caption files, or --compare')
    if min(args.min_count, args.processes) < 1:
        parser.error('--min-count and --processes must be at least 1')
    return args


def build(args: argparse.Namespace) -> None:
    """Count, filter, write and report."""
    captions = CaptionFiles(
        args.captions, args.caption_key, args.cache_dir, args.copy_dir, args.processes
    )
    options = {'model': args.spacy_model} if args.backend == 'spacy' else {}
    backend = make_backend(args.backend, **options)
    counts = count_concepts(captions, backend, args.kind, args.processes, progress=True)
    pool = counts.keep(args.min_count)
    write_pool(pool, args.out)
    print(f'{counts.report(pool, args.min_count, captions.num_left_out)}\nwritten: {args.out}')


def main() -> None:
    """Make a pool, compare it."""
    args = parse_args()
    try:
        other = read_pool(args.compare) if args.compare else None
        if args.captions:
            build(args)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise SystemExit(f'{args.out} was not written: {error}') from None
    if other is not None:
        try:
            print(f'{args.out} and {args.compare}:\n{compare_pools(read_pool(args.out), other)}')
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from None


if __name__ == '__main__':
    main()
