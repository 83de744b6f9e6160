# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Detect what you name in your own images.

    python demo/image_demo.py photo.jpg CONFIG CHECKPOINT --texts 'traffic cone . red umbrella'
    python demo/image_demo.py photos/ CONFIG CHECKPOINT --texts names.txt --out found
    python demo/image_demo.py a.jpg regionclip_rn50_rpn_zero-shot_lvis random --texts 'cat . dog'

The last one needs no file: its weights are generated, so its boxes mean nothing.
Visualizations go to OUT/vis, detections (JSON, boxes in pixels of the image) to OUT/preds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
from regionclip_mmdet.apis.command_line import (
    make_inferencer,
    make_parser,
    overrides,
    run_or_explain,
)


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "an image, a folder, or a pattern ('photos/*.jpg')", 'INPUT')
    parser.add_argument(
        '--out', '--out-dir', default='outputs', metavar='FOLDER', help='default: outputs'
    )
    parser.add_argument('--batch-size', type=int, default=1, help='images at a time (default: 1)')
    parser.add_argument('--no-save-vis', action='store_true', help='draw no detections')
    parser.add_argument('--no-save-pred', action='store_true', help='write no JSON files')
    parser.add_argument('--print-result', action='store_true', help='print the detections')
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> None:
    """Detect and tell what was written."""
    options = parse_args(args)
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
            f'Drawn are the {limit} best detections; --cfg-options '
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


if __name__ == '__main__':
    main()
