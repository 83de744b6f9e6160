# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Convert checkpoints of RegionCLIP, CLIP and localizers to this project's layout, or to CLIP's.

    python tools/convert_checkpoint.py regionclip_pretrained-cc_rn50.pth -o ours.pth
    python tools/convert_checkpoint.py finetuned.pth rpn_coco_48.pth --names names.txt -o ours.pth
    python tools/convert_checkpoint.py RN50.pt -o clip.safetensors
    python tools/convert_checkpoint.py RN50/openai rpn_coco_48.pth -o clip_with_localizer.pth
    python tools/convert_checkpoint.py trained_here.pth --to clip -o open_clip.pt
    python tools/convert_checkpoint.py coco_65_cls_emb.pth --names ov_coco_65 -o vocabulary.pth

What each file is, is recognized. Every tensor is accounted for; a part that is incomplete, or
absent although such a file has it, ends the conversion, and nothing is written. Several files
become one checkpoint; where two hold the same part, the later one's is taken, and a localizer or
text encoder that one lacks may be in another. A name as RN50/openai
is downloaded by open_clip. No code in a file is ever run.
"""

import argparse
from pathlib import Path

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
from regionclip_mmdet import conversion
from regionclip_mmdet.checkpoints import load_clip_state_dict, read_file
from regionclip_mmdet.checkpoints.parts import CLASS_EMBEDDINGS, PARTS
from regionclip_mmdet.checkpoints.state_dicts import find_state_dict
from regionclip_mmdet.known_files import NAME_LISTS
from regionclip_mmdet.models.backbones import CLIP_RESNETS
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.recipes.name_lists import read_rows


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'inputs', nargs='+', type=Path, help='one or more checkpoints, or names as RN50/openai'
    )
    parser.add_argument('-o', '--out', type=Path, required=True, help='.pth or .safetensors')
    parser.add_argument(
        '--to',
        choices=['ours', 'clip'],
        default='ours',
        help="layout of the output; clip: OpenAI's",
    )
    parser.add_argument(
        '--vocabulary', type=Path, help='embeddings with names (TextEmbeddings.save) to put in'
    )
    parser.add_argument(
        '--names',
        help='names of nameless class embeddings, in the order of their rows: a text file, a name '
        f'per line, or a list: {", ".join(NAME_LISTS)}',
    )
    parser.add_argument(
        '--allow-missing',
        nargs='*',
        default=(),
        choices=(*PARTS, CLASS_EMBEDDINGS),
        metavar='PART',
        help='may be absent',
    )
    parser.add_argument(
        '--custom-sizes', action='store_true', help='CLIP ResNets of unpublished sizes'
    )
    args = parser.parse_args()
    if args.out.suffix not in ('.pth', '.pt', '.safetensors'):
        parser.error(f'--out {args.out}: the name must end with .pth, .pt or .safetensors')
    return args


def main() -> None:
    """Convert, report, write."""
    args = parse_args()
    try:
        names = None if args.names is None else read_rows(args.names)
        contents = [(path, read_input(path)) for path in args.inputs]
        if len(contents) == 1 and hasattr(contents[0][1], '__array__'):
            convert_embeddings(args, contents[0][1], names)
        else:
            convert_models(args, contents, names)
    except (ValueError, OSError, RuntimeError) as error:
        raise SystemExit(f'Nothing was written. {error}') from None


def read_input(path: Path) -> object:
    """Content of a file, or CLIP weights by open_clip's name."""
    if not path.exists() and path.parts[0] in CLIP_RESNETS:
        return load_clip_state_dict(path.as_posix())[0]
    return read_file(path)[1]


def convert_embeddings(args: argparse.Namespace, content: object, names: list[str] | None) -> None:
    """Official class embeddings, a bare matrix, to a vocabulary."""
    matrix = find_state_dict(dict(embeddings=content), str(args.inputs[0]))['embeddings']
    if names is None:
        raise ValueError(
            f'{args.inputs[0]} holds {tuple(matrix.shape)} embeddings without names: give --names.'
        )
    vocabulary = TextEmbeddings.from_tensor(
        matrix, names, provenance=dict(source=args.inputs[0].name)
    )
    vocabulary.save(args.out)
    print(f'text embeddings: {len(vocabulary)} names, width {vocabulary.embed_dim}\n{args.out}')


def convert_models(
    args: argparse.Namespace, contents: list[tuple[Path, object]], names: list[str] | None
) -> None:
    """Checkpoints to one checkpoint."""
    named = [(str(path), content) for path, content in contents]
    with_vocabulary = args.vocabulary is not None
    converted = conversion.convert_several(
        named, args.allow_missing, args.custom_sizes, with_vocabulary
    )
    if names is not None:
        conversion.name_embeddings(converted, names)
    for (name, _), conversion_of in zip(named, converted, strict=True):
        print(f'{name}: {conversion_of}')
    result, replaced = conversion.merge(converted)
    result.notes['sources'] = conversion.origins(args.inputs, converted)
    for part in replaced:
        print(f"'{part}' is taken from the later file.")
    if result.embeddings and args.vocabulary is None:
        sizes = ', '.join(str(len(matrix)) for matrix in result.embeddings.values())
        print(
            f'Class embeddings of {sizes} classes are left out: --names makes a vocabulary of '
            'those with as many rows.'
        )
    if args.vocabulary is not None:
        conversion.add_vocabulary(result, TextEmbeddings.load(args.vocabulary))
    state = result.state_dict
    if args.to == 'clip':
        state, left = conversion.to_clip(result)
        if left:
            print(f'CLIP has no place for {len(left)} tensors, e.g. {left[0]}.')
    conversion.save(state, result.notes, args.out)
    print(f'{args.out}: {len(state)} tensors')


if __name__ == '__main__':
    main()
