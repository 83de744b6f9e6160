# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Write the regions of many images, their embeddings and names, into files.

    python tools/extract_region_features.py CONFIG CHECKPOINT photos/ --out features
    python tools/extract_region_features.py CONFIG CHECKPOINT photos/ --out features \
        --boxes detections --texts 'cat . dog' --nms class-agnostic
    python tools/extract_region_features.py CONFIG CHECKPOINT val.json --image-root val2017 \
        --boxes val.json --out features
    torchrun --nproc_per_node 8 tools/extract_region_features.py ... --launcher pytorch

IMAGES is a folder (with those below it), a pattern in quotes, an image, a text file with a path a
line, or an annotation file in COCO's format.

A file regions-00000.npz holds the boxes, objectness, embeddings and best names of the regions of
256 images; regionclip_mmdet.features.read_region_features('features') reads them. With
--format official there is one .pth file of each image as the official tool writes it. Both are
described in docs/features.md. Search them by words: tools/search_regions.py.

After an interruption the same command goes on; files that were made with other settings are not
touched unless --overwrite is given. Images that cannot be read are named at the end and in
broken.tsv. The files do not depend on the number of processes.
"""

from __future__ import annotations

import argparse

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
import torch
from mmengine.device import get_device
from mmengine.dist import get_dist_info

from regionclip_mmdet import features
from regionclip_mmdet.apis import RegionCLIPInferencer
from regionclip_mmdet.apis.model_sources import read_model_config
from regionclip_mmdet.compat import end_distributed_run, warn_of_unusable_gpu
from regionclip_mmdet.engine.ranks import start_processes
from regionclip_mmdet.engine.tool_arguments import add_run_arguments


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help="config file of a detector, or its name in this package's")
    parser.add_argument('checkpoint', help='its weights; "random": generated ones, to try it out')
    parser.add_argument('images', metavar='IMAGES', help='see above')
    parser.add_argument(
        '--out', '--out-dir', metavar='FOLDER', required=True, help='folder for the files'
    )
    parser.add_argument(
        '--image-root',
        metavar='FOLDER',
        help="where the paths in a .txt or .json begin (default: that file's folder)",
    )
    parser.add_argument(
        '--boxes',
        default='localizer',
        metavar='SOURCE',
        help='localizer: its proposals (default). detections: the detections of --texts, else of '
        "the model's own names. grid: windows of --grids. FILE.json: boxes of an annotation file, "
        'or of a file of results, both in the format of COCO',
    )
    parser.add_argument(
        '--grids',
        nargs='+',
        type=int,
        default=[1, 2, 4],
        metavar='CELLS',
        help='of --boxes grid: cells along each side; 1: the whole image (default: 1 2 4)',
    )
    parser.add_argument(
        '--texts',
        help="names for the regions: 'red circle . blue square', a text file with a name a line, "
        'or a file of embeddings (.pth) of tools/embed_names.py',
    )
    parser.add_argument(
        '--text-encoder',
        metavar='FILE',
        help='CLIP weights to embed --texts with, where the checkpoint has no text encoder',
    )
    parser.add_argument(
        '--top', type=int, default=5, help='best names to keep of each region (default: 5)'
    )
    parser.add_argument(
        '--max-regions', type=int, metavar='N', help='keep the best N regions of an image'
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        metavar='S',
        help='keep regions with a larger score: of proposals the sigmoid of the objectness, of '
        "detections their score (default: the config's), of results theirs",
    )
    parser.add_argument(
        '--nms',
        choices=features.settings.NMS_MODES,
        help='class-agnostic: of boxes that overlap only the best is kept, whatever it shows, so '
        "one box is one row. class-wise, of detections alone: the config's, a region may come "
        'under several names. Default: class-wise for detections, else none',
    )
    parser.add_argument(
        '--nms-iou', type=float, default=0.5, help='of class-agnostic NMS (default: 0.5)'
    )
    parser.add_argument(
        '--dtype',
        choices=features.settings.DTYPES,
        default='float16',
        help='of the embeddings in the files (default: float16; official files: always float32)',
    )
    parser.add_argument(
        '--format',
        choices=['npz', 'official'],
        default='npz',
        help='see above (default: npz)',
    )
    parser.add_argument(
        '--images-per-file',
        type=int,
        default=256,
        metavar='N',
        help='an interruption loses at most so many, of each process (default: 256)',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        help='images of one size that are computed together; results of several are equal up to '
        'rounding (default: 1)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=4,
        help='processes that load images, per process (default: 4)',
    )
    parser.add_argument('--device', help='default: a GPU if there is one')
    parser.add_argument(
        '--overwrite', action='store_true', help='rebuild files that have other settings'
    )
    add_run_arguments(parser, 'model.localizer.test_cfg.max_per_img=300')
    args = parser.parse_args()
    for name in ('batch_size', 'images_per_file'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be positive')
    return args


def given_boxes(
    args: argparse.Namespace, images: features.ImageList
) -> features.CocoBoxes | features.GridBoxes | None:
    """Boxes that do not come from the model."""
    if args.boxes in ('localizer', 'detections'):
        return None
    if args.boxes == 'grid':
        return features.GridBoxes(tuple(args.grids))
    if not args.boxes.endswith('.json'):
        raise ValueError(
            f'--boxes is localizer, detections, grid or a .json file, not {args.boxes}.'
        )
    return features.CocoBoxes(args.boxes, images)


def extract(args: argparse.Namespace) -> features.ExtractionReport:
    """Do what the command line says."""
    images = features.list_images(args.images, args.image_root)
    boxes = given_boxes(args, images)
    settings = features.RegionSettings(
        source=args.boxes if boxes is None else 'given',
        max_regions=args.max_regions,
        score_thr=args.score_thr,
        nms=args.nms,
        nms_iou=args.nms_iou,
        dtype=args.dtype if args.format == 'npz' else 'float32',
        top=args.top,
    )
    cfg = read_model_config(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    inferencer = RegionCLIPInferencer(
        cfg,
        args.checkpoint,
        args.device or get_device(),
        text_encoder=args.text_encoder,
        show_progress=get_dist_info()[0] == 0,
    )
    maker = features.RegionMaker(
        inferencer.model,
        settings,
        inferencer.vocabulary(args.texts) if args.texts else None,
        keep_probs=args.format == 'official' and settings.source == 'detections',
    )
    return features.extract_region_features(
        maker,
        images,
        inferencer.pipeline,
        args.out,
        boxes,
        args.format,
        args.batch_size,
        args.images_per_file,
        args.workers,
        args.overwrite,
    )


def main() -> None:
    """Compute what is missing and print a summary."""
    args = parse_args()
    warn_of_unusable_gpu()
    start_processes(args.launcher)
    torch.manual_seed(0)
    try:
        report = extract(args)
    except (OSError, RuntimeError, ValueError) as error:
        raise SystemExit(f'Region features are not complete: {error}') from None
    if get_dist_info()[0] == 0:
        print(f'{args.out}: {report}', flush=True)
    end_distributed_run()


if __name__ == '__main__':
    main()
