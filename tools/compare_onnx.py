# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Compare an exported detector with PyTorch on photographs, and time both on the CPU.

    python tools/compare_onnx.py CONFIG CHECKPOINT --folder FOLDER
    python tools/compare_onnx.py CONFIG CHECKPOINT --images photo.jpg other.png
    python tools/compare_onnx.py configs/ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py --generated

FOLDER was written by tools/export_onnx.py with the same arguments; without --folder the model is
exported to a temporary one. Without --images the photographs are scikit-image's astronaut, coffee,
chelsea and rocket. --generated takes random weights of full size in place of a checkpoint.

Every detection above --score-thr, of either side, must have a partner of the same name on the
other: scores may differ by --tolerance, boxes by --tolerance times the image's longer side. An
image without detections counts as different. The columns: detections above the threshold of both,
detections without a partner, largest differences, median seconds from image array to detections
(both with --threads), their ratio, the ratio of the CPU times. Exit code 1 if any image differs, 2
if nothing could be compared.
"""

import argparse
import sys
import tempfile
from pathlib import Path

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
import torch
from mmdet.apis import init_detector
from mmengine.config import Config, DictAction
from mmengine.logging import MMLogger

from regionclip_mmdet.apis.model_sources import read_model_config
from regionclip_mmdet.export import GRAPHS, OnnxDetector, compare_with_torch, export_detector
from regionclip_mmdet.export.compare import HEADER, SCORE_THR, TOLERANCE, load_images, versions
from regionclip_mmdet.export.programs import ProgramDetector
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.models.weights import generated_model

NAMES = ('person', 'helmet', 'cup', 'cat', 'rocket')
DETECTORS = dict(onnx=OnnxDetector, torch=ProgramDetector)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='a file, or the name of a config of this package')
    parser.add_argument('checkpoint', nargs='?', help='its weights')
    parser.add_argument('--generated', action='store_true', help='random weights of full size')
    parser.add_argument('--folder', help='of the exported detector')
    parser.add_argument(
        '--vocabulary', help='as for tools/export_onnx.py; default: the names of the checkpoint'
    )
    parser.add_argument('--graphs', nargs='+', choices=list(GRAPHS), help='to export')
    parser.add_argument('--format', choices=list(DETECTORS), default='onnx', help='default: onnx')
    parser.add_argument('--images', nargs='+', default=[], help='photographs')
    parser.add_argument('--score-thr', type=float, default=SCORE_THR, help=f'default: {SCORE_THR}')
    parser.add_argument('--tolerance', type=float, default=TOLERANCE, help=f'default: {TOLERANCE}')
    parser.add_argument('--threads', type=int, default=1, help='of both (default: 1)')
    parser.add_argument('--repeats', type=int, default=3, help='timed runs of each (default: 3)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='KEY=VALUE ...')
    args = parser.parse_args()
    if (args.checkpoint is None) != args.generated:
        parser.error('give either a checkpoint or --generated')
    return args


def main() -> int:
    """Compare and print; the exit code."""
    args = parse_args()
    try:
        return compare(args)
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


def compare(args: argparse.Namespace) -> int:
    """What ``main`` does, with errors.

    Raises:
        ValueError: The folder was exported with other names.
    """
    MMLogger.get_current_instance().setLevel('WARNING')
    torch.set_num_threads(args.threads)
    cfg = read_model_config(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    if args.generated:
        model = _generated_detector(cfg)
    else:
        model = init_detector(cfg, args.checkpoint, device='cpu', palette='random')
    if args.vocabulary:
        model.set_vocabulary(TextEmbeddings.load(args.vocabulary))
    images = load_images(args.images)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder
        if folder is None:
            folder, pipeline = temporary, cfg.test_dataloader.dataset.pipeline
            export_detector(model, folder, args.graphs, [args.format], pipeline, progress=True)
        detector = DETECTORS[args.format](folder, threads=args.threads)
        names = tuple(model.roi_head.bbox_head.active_classifier.names)
        if detector.names != names:
            raise ValueError(
                f'{folder} was exported with other names ({len(detector.names)}: '
                f'{detector.names[:3]}...) than these ({len(names)}: {names[:3]}...): give the '
                'same --vocabulary.'
            )
        print(f'{versions()}, {args.threads} threads\n{Path(args.config).name}\n{HEADER}')
        found = []
        for name, image in images.items():
            found += compare_with_torch(
                model, detector, {name: image}, args.score_thr, args.repeats
            )
            print(found[-1].line(args.tolerance), flush=True)
    same = sum(image.passes(args.tolerance) for image in found)
    print(f'{same} of {len(found)} images: the same detections above {args.score_thr}')
    return 0 if same == len(found) else 1


def _generated_detector(cfg: Config) -> torch.nn.Module:
    """A detector with random weights and random embeddings of a few class names."""
    head = cfg.model.roi_head.bbox_head
    head.vocabulary = head.test_vocabulary = None
    model = generated_model(cfg, text_encoder=False).eval()
    generator = torch.Generator().manual_seed(0)
    size = model.roi_head.region_encoder.embed_dim
    matrix = torch.randn(len(NAMES), size, generator=generator)
    model.roi_head.bbox_head.set_vocabulary(TextEmbeddings(NAMES, matrix, dict(source='generated')))
    model.cfg = cfg
    return model


if __name__ == '__main__':
    sys.exit(main())
