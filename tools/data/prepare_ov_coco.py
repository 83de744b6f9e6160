# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Make the annotation files of OV-COCO from COCO's public ones.

    python tools/data/prepare_ov_coco.py data/coco

Reads annotations/instances_{train,val}2017.json and writes next to them:
    ov_coco_train_base.json       48 base names, images with at least one of them
    ov_coco_val_base.json         48 names, images with at least one of them
    ov_coco_val_novel.json        17 names, images with at least one of them
    ov_coco_val_all.json          65 names, 4836 images: the protocol of published numbers
    ov_coco_val_all_images.json   65 names, all 5000 images
Counts are printed; where those of the public data are known, others are refused. Files are written
together at the end, or not at all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from regionclip_mmdet.datasets.preparation import (
    OVCocoSplit,
    prepare_ov_coco_train,
    prepare_ov_coco_val,
    write_all,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='folder of COCO, with annotations/ in it')
    parser.add_argument(
        '--parts', nargs='+', choices=['train', 'val'], default=['train', 'val'], help='what to do'
    )
    parser.add_argument('--train', type=Path, help='training file, if it lies elsewhere')
    parser.add_argument('--val', type=Path, help='validation file, if it lies elsewhere')
    parser.add_argument(
        '--out', '--out-dir', type=Path, help='folder of the results (default: annotations/)'
    )
    parser.add_argument(
        '--split',
        type=Path,
        metavar='JSON',
        help='other names: a file {"base": [...], "novel": [...]}; implies --any-size',
    )
    parser.add_argument(
        '--any-size',
        action='store_true',
        help='accept other data than the complete public files; counts are printed, not compared',
    )
    return parser.parse_args()


def main() -> None:
    """Prepare the parts, write all files, print the counts."""
    args = parse_args()
    annotations = args.root / 'annotations'
    out = args.out or annotations
    files, lines = {}, []
    try:
        split = OVCocoSplit() if args.split is None else OVCocoSplit.read(args.split)
        any_size = args.any_size or args.split is not None
        for part, path, prepare in (
            (
                'train',
                args.train or annotations / 'instances_train2017.json',
                prepare_ov_coco_train,
            ),
            ('val', args.val or annotations / 'instances_val2017.json', prepare_ov_coco_val),
        ):
            if part in args.parts:
                more_files, more_lines = prepare(path, out, split, any_size)
                files.update(more_files)
                lines += more_lines
        write_all(files)
    except (OSError, ValueError) as error:
        raise SystemExit(f'Nothing was written. {error}') from None
    print('\n'.join(lines))


if __name__ == '__main__':
    main()
