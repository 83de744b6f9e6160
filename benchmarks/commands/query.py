# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Time questions to an image that is encoded already, with more and more names.

    OMP_NUM_THREADS=2 python tools/benchmark.py query
    python tools/benchmark.py query --names 100 5000 --nms soft --objectness sigmoid

The image is encoded at full size, with generated weights and boxes; the names are generated unit
embeddings, so that embedding them is no part of it. Seconds are the median of several runs after
some to warm up, memory is what a question adds to the process at its peak. Limits: a question may
cost 2 % of the image's encoding with up to 1203 names, and 20 % with up to 20 000.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.logging import MMLogger

from regionclip_mmdet.apis.command_line import positive
from regionclip_mmdet.apis.encoding import encode_samples
from regionclip_mmdet.apis.querying import query_image
from regionclip_mmdet.models.text import TextEmbeddings

from ..timing import WARM_UPS, median_seconds, peak_of
from ..workloads import InferenceWorkload, Settings

HELP = 'questions to an encoded image, against the cost of encoding it'
NAMES = (65, 1203, 20_000)
LIMITS = {1203: 2.0, 20_000: 20.0}  # up to so many names: percent of encoding
NMS = dict(
    hard=dict(type='nms', iou_threshold=0.5),
    soft=dict(type='global_soft_nms', method='gaussian', sigma=0.5, min_score=0.001),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument(
        '--names', type=int, nargs='+', default=NAMES, help='(default: 65 1203 20000)'
    )
    parser.add_argument('--arch', default='RN50', help='CLIP ResNet (default: RN50)')
    parser.add_argument(
        '--image-size', type=int, nargs=2, default=(800, 1066), metavar=('H', 'W'),
        help='(default: 800 1066)',
    )  # fmt: skip
    parser.add_argument('--proposals', type=int, default=1000, help='(default: 1000)')
    parser.add_argument('--nms', choices=sorted(NMS), default='hard', help='(default: hard)')
    parser.add_argument(
        '--objectness', choices=('none', 'logit', 'sigmoid'), default='none',
        help='in the scores (default: none)',
    )  # fmt: skip
    parser.add_argument('--score-thr', type=float, default=0.001, help='(default: 0.001)')
    parser.add_argument('--repeats', type=positive(int), default=5, help='timed runs (default: 5)')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument('--threads', type=int, default=0, help="torch's threads on a CPU")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    if args.threads:
        torch.set_num_threads(args.threads)
    # what init_weights says of every tensor is of no use here
    MMLogger.get_current_instance().setLevel('WARNING')
    settings = Settings(
        arch=args.arch,
        image_size=tuple(args.image_size),
        proposals=args.proposals,
        objectness=args.objectness,
        device=args.device,
    )
    model = InferenceWorkload(settings).model
    model.roi_head.test_cfg.update(nms=NMS[args.nms], score_thr=args.score_thr)
    sample = generated_sample(settings)
    encode = lambda: encode_samples(model, [sample], all_regions=True)[0]  # noqa: E731
    encoding, _, encoded = measured(encode, args.repeats, args.device)
    width = encoded.embeddings.shape[1]
    print(f'encoding: {encoding:.3f} s for {len(encoded)} regions')
    rows = []
    for count in args.names:
        vocabulary = generated_vocabulary(count, width)
        ask = lambda v=vocabulary: query_image(model, encoded, v)  # noqa: E731
        seconds, memory, found = measured(ask, args.repeats, args.device)
        rows.append(row(count, seconds, encoding, memory, len(found)))
    print(format_rows(rows))
    return dict(
        settings={key: value for key, value in vars(args).items() if key != 'out'},
        encoding=encoding,
        questions=rows,
    )


def generated_sample(settings: Settings) -> dict[str, Any]:
    """A noise image as a test pipeline packs it."""
    height, width = settings.image_size
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    shape = (height, width)
    meta = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0), img_path=None)
    return dict(inputs=image, data_samples=DetDataSample(metainfo=meta))


def generated_vocabulary(count: int, width: int) -> TextEmbeddings:
    """Unit embeddings ``(count, width)``."""
    generator = torch.Generator().manual_seed(1)
    matrix = F.normalize(torch.randn(count, width, generator=generator), dim=1)
    return TextEmbeddings(tuple(f'name {i}' for i in range(count)), matrix)


def measured(step: Callable[[], Any], repeats: int, device: str) -> tuple[float, float, Any]:
    """Median seconds of a run after some to warm up, the peak MiB of the first, the result."""
    with peak_of(device) as memory:
        step()
    seconds, result = median_seconds(step, repeats, device, WARM_UPS - 1)
    return seconds, memory[0], result


def row(
    names: int, seconds: float, encoding: float, memory: float, detections: int
) -> dict[str, Any]:
    """Figures of one question.

    Args:
        names: Number of names.
        seconds: Of the question.
        encoding: Seconds of encoding the image.
        memory: MiB at its peak.
        detections: How many were found.
    """
    percent = 100 * seconds / encoding
    limit = next((limit for most, limit in LIMITS.items() if names <= most), None)
    return dict(
        names=names,
        seconds=seconds,
        percent=percent,
        limit=limit,
        within=None if limit is None else percent <= limit,
        memory_mib=memory,
        detections=detections,
    )


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table."""
    head = ('names', 's', '% of encoding', 'limit %', 'within', 'peak MiB', 'detections')
    lines = [head, ('---:',) * len(head)]
    words = {True: 'yes', False: 'NO', None: '-'}
    for found in rows:
        limit = '-' if found['limit'] is None else f'{found["limit"]:g}'
        lines.append(
            (
                str(found['names']),
                f'{found["seconds"]:.3f}',
                f'{found["percent"]:.2f}',
                limit,
                words[found['within']],
                f'{found["memory_mib"]:.0f}',
                str(found['detections']),
            )
        )
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
