# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Make the annotation files of OV-LVIS from LVIS v1's public ones.

    python tools/data/prepare_ov_lvis.py data/lvis_v1
    python tools/data/prepare_ov_lvis.py data/lvis_v1 --parts val --minival IDS

Reads annotations/lvis_v1_{train,val}.json and writes next to them:
    ov_lvis_train_base.json      866 frequent and common names, images with at least one of them
    ov_lvis_base_names.txt       those names; ov_lvis_novel_names.txt: the 337 rare ones
    ov_lvis_val_annotated.json   1203 names, without the images that have no annotation
    ov_lvis_minival.json         1203 names, the images of the list IDS
The complete validation set is lvis_v1_val.json itself. IDS is a file with image ids: JSON (a list,
or 'images' with 'id') or text, one id a line. Minival of MDETR, GLIP and their successors is given
by the images of lvis_v1_minival_inserted_image_name.json.
Counts are printed. Training annotations are 1.1 GB of JSON; reading them takes several times that
memory.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from regionclip_mmdet.datasets.preparation import (
    prepare_ov_lvis_train,
    prepare_ov_lvis_val,
    write_all,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='folder of LVIS, with annotations/ in it')
    parser.add_argument(
        '--parts', nargs='+', choices=['train', 'val'], default=['train', 'val'], help='what to do'
    )
    parser.add_argument('--train', type=Path, help='training file, if it lies elsewhere')
    parser.add_argument('--val', type=Path, help='validation file, if it lies elsewhere')
    parser.add_argument('--minival', type=Path, metavar='IDS', help='image ids of minival')
    parser.add_argument(
        '--out', '--out-dir', type=Path, help='folder of the results (default: annotations/)'
    )
    parser.add_argument(
        '--any-size',
        action='store_true',
        help='accept other data than the complete public files; counts are printed, not compared',
    )
    args = parser.parse_args()
    if args.minival is not None and 'val' not in args.parts:
        parser.error('--minival needs the part val')
    return args


def main() -> None:
    """Prepare the parts one after the other; write each, print its counts."""
    args = parse_args()
    annotations = args.root / 'annotations'
    out = args.out or annotations
    # one part in memory at a time
    for part in args.parts:
        try:
            if part == 'train':
                path = args.train or annotations / 'lvis_v1_train.json'
                files, lines = prepare_ov_lvis_train(path, out, args.any_size)
            else:
                path = args.val or annotations / 'lvis_v1_val.json'
                files, lines = prepare_ov_lvis_val(path, out, args.minival, args.any_size)
            write_all(files)
        except (OSError, ValueError) as error:
            raise SystemExit(f'No file of the part {part!r} was written. {error}') from None
        print('\n'.join(lines), flush=True)
        del files


if __name__ == '__main__':
    main()
