# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Command line of ``demo/image_demo.py``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .command_line import make_inferencer, make_parser, overrides, run_or_explain


def parse_args(description: str | None, args: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(description, "an image, a folder, or a pattern ('photos/*.jpg')", 'INPUT')
    parser.add_argument(
        '--out', '--out-dir', default='outputs', metavar='FOLDER', help='default: outputs'
    )
    parser.add_argument('--batch-size', type=int, default=1, help='images at a time (default: 1)')
    parser.add_argument('--no-save-vis', action='store_true', help='write no pictures')
    parser.add_argument('--no-save-pred', action='store_true', help='write no JSON files')
    parser.add_argument('--print-result', action='store_true', help='print the detections')
    return parser.parse_args(args)


def main(description: str | None = None, args: Sequence[str] | None = None) -> None:
    """Detect and tell what was written."""
    options = parse_args(description, args)
    run_or_explain(lambda: detect(options))


def detect(args: argparse.Namespace) -> None:
    """Detect in all images and print a line for each name that was found."""
    inferencer = make_inferencer(args)
    results = inferencer(
        args.input,
        texts=args.texts,
        batch_size=args.batch_size,
        out_dir=args.out,
        no_save_vis=args.no_save_vis,
        no_save_pred=args.no_save_pred,
        pred_score_thr=args.score_thr,
        print_result=args.print_result,
        show=args.show,
        wait_time=args.wait_time,
        **overrides(args),
    )
    predictions = results['predictions']
    for line in summary(predictions, args.score_thr):
        print(line)
    written = [
        f'{args.out}/{name}'
        for name, left_out in (('vis', args.no_save_vis), ('preds', args.no_save_pred))
        if not left_out
    ]
    if written:
        print(f'Written to {" and ".join(written)}.')
    limit = getattr(inferencer.visualizer, 'max_detections', None)
    most = max((sum(s > args.score_thr for s in p['scores']) for p in predictions), default=0)
    if limit is not None and most > limit and not args.no_save_vis:
        print(
            f'Pictures show the {limit} best detections; --cfg-options '
            f'visualizer.max_detections={most} shows more.'
        )


def summary(predictions: Sequence[dict], score_thr: float) -> list[str]:
    """How often each name was found above the threshold, the most frequent first."""
    counts: dict[str, list[float]] = {}
    for result in predictions:
        for name, score in zip(result['label_names'], result['scores'], strict=True):
            if score > score_thr:
                counts.setdefault(name, []).append(score)
    images = f'{len(predictions)} image{"s" if len(predictions) != 1 else ""}'
    if not counts:
        best = max((max(result['scores'], default=0.0) for result in predictions), default=0.0)
        if not any(result['scores'] for result in predictions):
            return [
                f"Nothing in {images}: no score passes the model's own threshold, whatever "
                '--score-thr says; --cfg-options model.test_cfg.rcnn.score_thr=0.0 may.'
            ]
        return [
            f'Nothing in {images} scores above {score_thr} (the best: {best:.3f}); a lower '
            '--score-thr draws more.'
        ]
    lines = [f'Found in {images}, scores above {score_thr}:']
    for name, scores in sorted(counts.items(), key=lambda item: (-len(item[1]), item[0])):
        lines.append(f'  {len(scores):4d} x {name} (best {max(scores):.3f})')
    return lines
