# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Make the caption file of downloaded image-text pairs, for example of CC3M.

    img2dataset --url_list Train_GCC-training.tsv --input_format tsv --url_col url \
        --caption_col caption --output_format files --output_folder data/cc3m/images
    python tools/data/index_image_text.py data/cc3m

Looks through data/cc3m/images for images with a .txt or .json file of the same name beside them,
which hold the caption, and writes data/cc3m/train.jsonl. (Google's file has no header line: put
"caption<TAB>url" before its first one.)
"""

from __future__ import annotations

import argparse
from pathlib import Path

from regionclip_mmdet.datasets.preparation import index_image_text, write_all


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='folder of the data, with images/ in it')
    parser.add_argument('--images', type=Path, help='image folder, if it lies elsewhere')
    parser.add_argument('--out', type=Path, help='caption file (default: ROOT/train.jsonl)')
    args = parser.parse_args()
    if args.out is not None and args.out.suffix != '.jsonl':
        parser.error('--out must end in .jsonl')
    return args


def main() -> None:
    """Index the images, write the file, print the counts."""
    args = parse_args()
    out = args.out or args.root / 'train.jsonl'
    try:
        lines, report = index_image_text(args.images or args.root / 'images')
        write_all({out: lines})
    except (OSError, ValueError) as error:
        raise SystemExit(f'{out} was not written: {error}') from None
    print(f'{report}\nwritten: {out}')


if __name__ == '__main__':
    main()
