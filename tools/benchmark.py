# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Time detection or a pretraining step, by stage, with one speed-up more in every row.

    python tools/benchmark.py inference
    python tools/benchmark.py inference --objectness logit --positive-share 0.3
    python tools/benchmark.py pretraining --no-localizer
    python tools/benchmark.py inference --device cuda --dtype bfloat16 --batch-size 4

The first row computes as CLIP's own modules do. All rows come from one run, each from a process of
its own; times are those of the quickest of several steps. Weights and inputs are generated: times
do not depend on them, except for the share of regions that can be left out.
"""

import argparse
import json
import platform
from dataclasses import asdict, replace
from pathlib import Path

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet

# isort: split
import torch

from regionclip_mmdet.benchmark import SWITCHES, Result, Settings, format_report, ladder, measure
from regionclip_mmdet.compat import warn_of_unusable_gpu

DEFAULTS = dict(
    inference=Settings(),
    pretraining=Settings(image_size=(640, 853), batch_size=2, proposals=100, names=4764),
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('workload', choices=DEFAULTS)
    parser.add_argument('--arch', help='CLIP ResNet (default: RN50)')
    parser.add_argument('--image-size', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--batch-size', type=int, help='images')
    parser.add_argument('--proposals', type=int, help='regions per image')
    parser.add_argument('--names', type=int, help='size of the vocabulary or concept pool')
    parser.add_argument(
        '--objectness',
        choices=['none', 'logit', 'sigmoid'],
        help='fusion of class scores with objectness; early exit needs one (inference)',
    )
    parser.add_argument(
        '--positive-share',
        type=float,
        help='share of proposals with a positive objectness logit (default: 0.5)',
    )
    parser.add_argument(
        '--no-localizer',
        dest='localizer',
        action='store_false',
        default=None,
        help='proposals are there already',
    )
    parser.add_argument('--device', help='cpu (default) or cuda')
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'])
    parser.add_argument('--repeats', type=int, default=3, help='timed steps per row (default: 3)')
    parser.add_argument('--threads', type=int, default=0, help="torch's threads on a CPU")
    parser.add_argument(
        '--only',
        nargs='*',
        metavar='NAME',
        choices=SWITCHES,
        help='compare nothing but "none" with exactly these: ' + ', '.join(SWITCHES),
    )
    parser.add_argument('--out', type=Path, help='write settings and numbers to this JSON file')
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = parse_args()
    warn_of_unusable_gpu()
    given = {k: v for k, v in vars(args).items() if k in asdict(Settings()) and v is not None}
    if 'image_size' in given:
        given['image_size'] = tuple(given['image_size'])
    settings = replace(DEFAULTS[args.workload], **given)
    rungs = ladder(args.workload) if args.only is None else [(), tuple(args.only)]
    if settings.objectness == 'none':
        rungs = [rung for rung in rungs if 'early_exit' not in rung]
    print(f'{args.workload}: {settings}')
    print(
        f'regionclip_mmdet {regionclip_mmdet.__version__}, torch {torch.__version__}, '
        f'Python {platform.python_version()}, '
        f'{args.threads or torch.get_num_threads()} CPU threads'
        + (f', {torch.cuda.get_device_name()}' if settings.device.startswith('cuda') else '')
    )
    results = []
    for rung in rungs:
        print(f'  measuring {" + ".join(rung) or "none"} ...', flush=True)
        measurement = measure(args.workload, settings, rung, args.repeats, args.threads)
        results.append(Result(rung, measurement))
    print('\n' + format_report(results))
    for name, (meaning, workloads, _) in SWITCHES.items():
        if args.workload in workloads:
            print(f'{name}: {meaning}')
    if args.out is not None:
        rows = [
            dict(
                switched_on=list(result.switched_on),
                total=result.measurement.total,
                parts=result.measurement.parts,
                memory_mib=result.measurement.memory_mib,
                regions=result.measurement.regions,
            )
            for result in results
        ]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(dict(settings=asdict(settings), rows=rows), indent=2))


if __name__ == '__main__':
    main()
