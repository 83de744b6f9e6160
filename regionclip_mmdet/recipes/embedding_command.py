# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The command that embeds names, for the tools that go by two names."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from ..models.text import get_templates
from .name_lists import LVIS_LISTS, embed_names, read_names
from .text_encoders import load_text_encoder


def main(description: str, cache: bool = False) -> None:
    """Read the command line, embed and write.

    Args:
        description: Of the tool, for ``--help``.
        cache: Whether embeddings are kept beside the output where no folder is named.
    """
    args = _parse_args(description, cache)
    folder = None if args.no_cache else args.cache
    if folder is None and cache and not args.no_cache:
        folder = args.out.parent / 'embedding_cache'
    start = time.perf_counter()
    try:
        names = read_names(args.names)
        encoder = load_text_encoder(args.arch, args.weights, args.quick_gelu)
        vocabulary = embed_names(
            names,
            encoder.to(args.device),
            args.templates,
            args.lvis_style or args.names in LVIS_LISTS,
            args.batch_size,
            progress=True,
            cache=folder,
        )
        vocabulary.save(args.out)
    except (OSError, RuntimeError, ValueError) as error:
        raise SystemExit(f'{args.out} was not written: {error}') from None
    print(
        f'{args.out}: {len(vocabulary)} names, width {vocabulary.embed_dim}, '
        f'{len(get_templates(args.templates))} prompts each, {time.perf_counter() - start:.1f} s'
        + (f'; kept in {folder}' if folder else '')
    )


def _parse_args(description: str, cache: bool) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
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
        dest='quick_gelu',
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
    parser.add_argument(
        '--cache',
        type=Path,
        metavar='FOLDER',
        help='keep the embeddings of names here; a run that was stopped goes on '
        + ('(default: embedding_cache, beside the output)' if cache else '(default: none)'),
    )
    parser.add_argument('--no-cache', action='store_true', help='keep none')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='cuda or cpu'
    )
    args = parser.parse_args()
    if args.out.suffix != '.pth':
        parser.error(f'--out {args.out}: the name must end with .pth')
    if args.batch_size < 1:
        parser.error('--batch-size must be at least 1')
    if args.cache is not None and args.no_cache:
        parser.error('--cache and --no-cache exclude each other')
    if args.quick_gelu is not None:
        args.quick_gelu = args.quick_gelu == 'quick'
    if args.arch.startswith('{'):
        try:
            args.arch = json.loads(args.arch)
        except ValueError as error:
            parser.error(f'--arch {args.arch}: {error}')
        if args.weights is None:
            parser.error('--arch with sizes needs --weights')
    return args
