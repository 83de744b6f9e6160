# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Create a vocabulary or concept pool: embeddings of names by a CLIP text encoder.

    python tools/embed_names.py ov_coco_65 --arch RN50 -o data/vocabularies/ov_coco_65_rn50.pth
    python tools/embed_names.py my_names.txt --arch RN50x4 -o my_names_rn50x4.pth
    python tools/embed_names.py data/vocabularies/coco_nouns.txt --arch RN50 \
        -o data/vocabularies/coco_nouns_rn50.pth --cache
    python tools/embed_names.py pool.txt --arch ViT-B-32 --weights ViT-B-32/laion2b_s34b_b79k \
        -o pool_vit_b_32.pth

The embedding of a name is the mean over 81 prompts, as in RegionCLIP. Lists that need no file:
coco_80, ov_coco_48, ov_coco_17, ov_coco_65, ov_lvis_866, lvis_1203. An annotation file (.json)
gives the names of its categories, in its order. A text file has a name per line, possibly with a
count behind it, as concept pools do. CLIP's weights are downloaded once by open_clip, unless
--weights names a file (OpenAI's archive, a state dict, safetensors).
With --cache a run that was stopped goes on, and lists that share names share their embeddings; the
folder can be deleted at any time.
"""

import argparse
import json
import time
from pathlib import Path

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
import torch

from regionclip_mmdet.models.text import get_templates
from regionclip_mmdet.recipes.name_lists import LVIS_LISTS, embed_names, read_names
from regionclip_mmdet.recipes.text_encoders import load_text_encoder


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'names',
        help='a text file with a name per line, a COCO annotation file (.json), or a list',
    )
    parser.add_argument(
        '--arch',
        default='RN50',
        help="open_clip model with CLIP's own text tower (default: RN50), or the sizes of one as "
        'a JSON object',
    )
    parser.add_argument(
        '--weights',
        help="ARCH/TAG of open_clip, a file of CLIP's weights, or a checkpoint of this project or "
        'of the official RegionCLIP with a text encoder in it (default: ARCH/openai, which '
        'open_clip downloads)',
    )
    parser.add_argument(
        '--gelu',
        choices=['quick', 'exact'],
        help="activation of the text tower (default: what open_clip knows of a tag; OpenAI's "
        'quick one for files)',
    )
    parser.add_argument('-o', '--out', type=Path, required=True, metavar='FILE.pth')
    parser.add_argument(
        '--templates',
        default='ensemble81',
        choices=['ensemble81', 'single', 'plain'],
        help='prompts: the official 81, "a photo of a ...", or the name alone',
    )
    parser.add_argument(
        '--lvis-style',
        action='store_true',
        help="names are LVIS', with underscores and parentheses; so for the lists of LVIS",
    )
    parser.add_argument('--batch-size', type=int, default=256, help='prompts at a time')
    cache = parser.add_mutually_exclusive_group()
    cache.add_argument(
        '--cache',
        type=Path,
        nargs='?',
        const=True,
        metavar='FOLDER',
        help='keep the embeddings of names here (without FOLDER: in embedding_cache, beside the '
        'output); a run that was stopped goes on',
    )
    cache.add_argument('--no-cache', action='store_true', help='keep none (the default)')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='cuda or cpu'
    )
    args = parser.parse_args()
    if args.out.suffix != '.pth':
        parser.error(f'--out {args.out}: the name must end with .pth')
    if args.batch_size < 1:
        parser.error('--batch-size must be at least 1')
    if args.cache is True:
        args.cache = args.out.parent / 'embedding_cache'
    if args.arch.startswith('{'):
        try:
            args.arch = json.loads(args.arch)
        except ValueError as error:
            parser.error(f'--arch {args.arch}: {error}')
        if args.weights is None:
            parser.error('--arch with sizes needs --weights')
    return args


def main() -> None:
    """Embed and write."""
    args = parse_args()
    start = time.perf_counter()
    try:
        names = read_names(args.names)
        quick_gelu = None if args.gelu is None else args.gelu == 'quick'
        vocabulary = embed_names(
            names,
            load_text_encoder(args.arch, args.weights, quick_gelu).to(args.device),
            args.templates,
            args.lvis_style or args.names in LVIS_LISTS,
            args.batch_size,
            progress=True,
            cache=args.cache,
        )
        vocabulary.save(args.out)
    except (OSError, RuntimeError, ValueError) as error:
        raise SystemExit(f'{args.out} was not written: {error}') from None
    print(
        f'{args.out}: {len(vocabulary)} names, width {vocabulary.embed_dim}, '
        f'{len(get_templates(args.templates))} prompts each, {time.perf_counter() - start:.1f} s'
        + (f'; kept in {args.cache}' if args.cache else '')
    )


if __name__ == '__main__':
    main()
