# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What the demos' command lines have in common."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from typing import Any

from mmengine.config import DictAction
from mmengine.logging import MMLogger

from .inferencer import RegionCLIPInferencer
from .model_sources import read_model_config


def make_parser(description: str | None, what: str, metavar: str) -> argparse.ArgumentParser:
    """Arguments of every demo.

    Args:
        description: The script's docstring.
        what: Help of the input.
        metavar: Name of the input.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('input', metavar=metavar, help=what)
    parser.add_argument(
        'config', metavar='CONFIG', help='a file, or the name of a config of this package'
    )
    parser.add_argument(
        'checkpoint',
        metavar='CHECKPOINT',
        nargs='?',
        help="a file; left out: the config's load_from; 'random': generated weights",
    )
    words = parser.add_argument_group('words')
    words.add_argument(
        '--texts',
        help="names to look for: 'cat . dog', a file with a name per line, embeddings (.pth), or a "
        "list such as coco_80; left out: the model's own",
    )
    words.add_argument(
        '--text-encoder',
        metavar='FILE',
        help='CLIP weights or a RegionCLIP checkpoint, official or converted, if CHECKPOINT has no '
        'text encoder',
    )
    words.add_argument(
        '--templates',
        help="prompts: 'ensemble81' (RegionCLIP's), 'single', 'plain' (quickest); left out: the "
        "config's prompts, else ensemble81",
    )
    words.add_argument(
        '--embedding-cache', metavar='FOLDER', help='keep embeddings of names for later calls'
    )
    found = parser.add_argument_group('detections')
    found.add_argument(
        '--score-thr', type=float, default=0.3, help='lowest score to be drawn (default: 0.3)'
    )
    found.add_argument(
        '--max-per-img',
        type=positive(int),  # to mmdet 0 is no limit
        metavar='N',
        help="at most N detections (default: the config's)",
    )
    found.add_argument('--show', action='store_true', help='open a window')
    found.add_argument(
        '--wait-time',
        type=float,
        default=0,
        metavar='SECONDS',
        help='how long a window stays; 0: until a key is pressed, in a video no time (default: 0)',
    )
    parser.add_argument('--device', help='cpu, cuda:0, ... (default: a GPU if there is one)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings, for example model.test_cfg.rcnn.score_thr=0.01',
    )
    return parser


def make_inferencer(args: argparse.Namespace) -> RegionCLIPInferencer:
    """The inferencer that the arguments describe."""
    # which of hundreds of tensors were loaded is of no use here; what was not, is an error
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    cfg = read_model_config(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    return RegionCLIPInferencer(
        cfg,
        args.checkpoint,
        device=args.device,
        text_encoder=args.text_encoder,
        templates=args.templates,
        embedding_cache=args.embedding_cache,
    )


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Settings of ``query_image`` that were given."""
    return {} if args.max_per_img is None else dict(max_per_img=args.max_per_img)


def positive(kind: type) -> Callable[[str], float]:
    """An argument's type: ``int`` or ``float`` above 0."""

    def convert(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f'{text} is not above 0')
        return value

    convert.__name__ = f'positive {kind.__name__}'
    return convert


def run_or_explain(run: Callable[[], None]) -> None:
    """Run; what a user can mend ends the program with its message and without a traceback."""
    try:
        run()
    except (OSError, ValueError, TypeError, RuntimeError, SyntaxError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
