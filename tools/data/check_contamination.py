# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Which novel names were seen in training after all, and how often.

    python tools/data/check_contamination.py ov_coco \
        --annotations data/lvis_v1/annotations/ov_lvis_train_base.json \
        --captions data/coco/annotations/captions_train2017.json \
        --concepts data/concepts/coco_nouns.txt

For every source it prints the novel names found in it, with counts. Names are looked for as whole
words in singular and plural, together with the synonyms LVIS gives them.
    --annotations  boxes of a localizer's or detector's training: classes that are novel ones, or
                   have one in their name
    --captions     pretraining captions: COCO captions (.json), JSON lines (.jsonl) or text (.txt)
    --concepts     concept pool: text, one name a line, or a file of embeddings (.pth)
In captions novel names are part of the open-vocabulary setting, which allows them; the counts say
how often the model could learn each. Among the classes of boxes they break it.
A name inside a longer one of COCO or LVIS ('dog' in 'hot dog') is counted apart.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from regionclip_mmdet.datasets import ImageTextDataset
from regionclip_mmdet.datasets.categories import OV_COCO_NOVEL, OV_LVIS_NOVEL
from regionclip_mmdet.datasets.contamination import (
    class_report,
    search_classes,
    search_texts,
    text_report,
)
from regionclip_mmdet.datasets.names_in_text import NameFinder
from regionclip_mmdet.datasets.preparation import read_annotations, write_all
from regionclip_mmdet.models.text import TextEmbeddings

LISTS = {'ov_coco': OV_COCO_NOVEL, 'ov_lvis': OV_LVIS_NOVEL}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'novel', help='ov_coco (17), ov_lvis (337), or a text file, one name a line'
    )
    for source in ('annotations', 'captions', 'concepts'):
        parser.add_argument(f'--{source}', type=Path, nargs='+', default=[], metavar='FILE')
    parser.add_argument('--out', type=Path, help='write all counts to this JSON file, too')
    args = parser.parse_args()
    if not (args.annotations or args.captions or args.concepts):
        parser.error('nothing to look through: give --annotations, --captions or --concepts')
    if args.out is not None and args.out.suffix != '.json':
        parser.error('--out must end in .json')
    return args


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that are not empty."""
    lines = [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError(f'{path} is empty.')
    return lines


def texts_of(path: Path, kind: str) -> list[str]:
    """Captions or concepts of a file."""
    if path.suffix == '.txt':
        return lines_of(path)
    if kind == 'concepts':
        return list(TextEmbeddings.load(path).names)
    items = ImageTextDataset(str(path), lazy_init=True).load_data_list()
    return [caption for item in items for caption in item['captions']]


def main() -> None:
    """Look through all sources, one after the other."""
    args = parse_args()
    counts: dict[str, dict] = {}
    try:
        names = LISTS[args.novel] if args.novel in LISTS else lines_of(Path(args.novel))
        finder = NameFinder(names)
        for path in args.annotations:
            found = search_classes(finder, read_annotations(path))
            print(f'{path}: classes', *class_report(found), sep='\n', flush=True)
            counts[str(path)] = {n: [asdict(m) for m in found[n]] for n in finder.names}
        for kind in ('captions', 'concepts'):
            for path in getattr(args, kind):
                texts = texts_of(path, kind)
                found = search_texts(finder, texts)
                print(f'{path}: {kind}', *text_report(found, len(texts)), sep='\n', flush=True)
                counts[str(path)] = {n: found[n].to_json() for n in finder.names}
        if args.out is not None:
            write_all({args.out: counts}, progress=False)
    except (OSError, ValueError) as error:
        raise SystemExit(f'{error}') from None


if __name__ == '__main__':
    main()
