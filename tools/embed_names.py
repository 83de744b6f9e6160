# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Make a vocabulary: embeddings of names by a CLIP text encoder.

    python tools/embed_names.py ov_coco_65 --arch RN50 -o data/vocabularies/ov_coco_65_rn50.pth
    python tools/embed_names.py my_names.txt --arch RN50x4 -o my_names_rn50x4.pth

The embedding of a name is the mean over 81 prompts, as in RegionCLIP. Lists that need no file:
coco_80, ov_coco_48, ov_coco_17, ov_coco_65, ov_lvis_866, lvis_1203. CLIP's weights are downloaded
once by open_clip, unless --weights names a file (OpenAI's archive, a state dict, safetensors).
A text file may have counts behind the names, as concept pools do. With --cache a run that was
stopped goes on, and other lists reuse the names they share.
"""

import argparse
import json
from pathlib import Path

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
import torch

from regionclip_mmdet.known_files import CLIP_ARCHS
from regionclip_mmdet.models.text import CLIPTextEncoder
from regionclip_mmdet.recipes.name_lists import LVIS_LISTS, embed_names, read_names


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('names', help='a list, or a text file with a name per line')
    parser.add_argument(
        '--arch',
        default='RN50',
        help=f'CLIP model, one of {", ".join(CLIP_ARCHS.values())}; or the sizes of another text '
        'tower as a JSON object',
    )
    parser.add_argument('--weights', help='default: ARCH/openai, which open_clip downloads')
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
    parser.add_argument(
        '--cache', type=Path, metavar='FOLDER', help='keep the embeddings of names here'
    )
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='cuda or cpu'
    )
    args = parser.parse_args()
    if args.out.suffix != '.pth':
        parser.error(f'--out {args.out}: the name must end with .pth')
    if args.arch.startswith('{'):
        args.arch = json.loads(args.arch)
        if args.weights is None:
            parser.error('--arch with sizes needs --weights')
    elif args.arch not in CLIP_ARCHS.values():
        parser.error(f'--arch {args.arch}: choose from {", ".join(CLIP_ARCHS.values())}')
    return args


def main() -> None:
    """Embed and write."""
    args = parse_args()
    try:
        names = read_names(args.names)
        weights = args.weights or f'{args.arch}/openai'
        encoder = CLIPTextEncoder(
            args.arch, init_cfg=dict(type='CLIPPretrained', checkpoint=weights)
        )
        encoder.init_weights()
        vocabulary = embed_names(
            names,
            encoder.to(args.device),
            args.templates,
            args.lvis_style or args.names in LVIS_LISTS,
            args.batch_size,
            progress=True,
            cache=args.cache,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise SystemExit(f'Nothing was written. {error}') from None
    vocabulary.save(args.out)
    print(f'{args.out}: {len(vocabulary)} names, width {vocabulary.embed_dim}')


if __name__ == '__main__':
    main()
