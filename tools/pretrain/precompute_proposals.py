# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Compute the localizer's proposals of all images of all shards, once.

    python tools/pretrain/precompute_proposals.py CONFIG
    torchrun --nproc_per_node 8 tools/pretrain/precompute_proposals.py \
        configs/pretrain/regionclip_rn50_32xb3-600k_cc3m_proposals.py --launcher pytorch \
        --precision bfloat16 --batch-size 8 --workers 12

CONFIG is a pretraining config whose data are ImageTextShards or ImageTextTSV. Other image-text
pairs are packed into shards first: tools/data/pack_shards.py. Images are loaded and resized as its
pipeline does, without flips. The localizer is model.localizer or, where the model has none, the
config's variable localizer.

One file per shard is written, 00000.proposals.npz for 00000.tar: boxes as fractions of the image
and raw objectness logits. Training reads them with

    dataset = dict(type='ImageTextShards', proposals='FOLDER', ...),  model = dict(localizer=None)
    LoadImageChecked, LoadRegionProposals, MoveProposals(transforms=[resize, RandomFlip]), ...,
    PackRegionInputs

After an interruption the same command goes on with the shards that are missing. Files that were
made with another localizer, size or number are not touched unless --overwrite is given. Damaged
images are skipped, counted and named at the end and in FOLDER/broken.tsv.
"""

from __future__ import annotations

import argparse

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_dist_info
from mmengine.registry import init_default_scope

from regionclip_mmdet.compat import end_distributed_run, warn_of_unusable_gpu
from regionclip_mmdet.engine.robust.ranks import start_processes
from regionclip_mmdet.engine.tool_arguments import add_run_arguments, parse_run_arguments
from regionclip_mmdet.pretraining import ProposalMaker, fixed_view, from_config
from regionclip_mmdet.pretraining import precompute_proposals as precompute


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out',
        '--out-dir',
        metavar='FOLDER',
        help="folder for the files; default: the dataset's proposals",
    )
    parser.add_argument(
        '--checkpoint',
        metavar='FILE',
        help="weights of the localizer; default: those of the config's localizer, else load_from",
    )
    parser.add_argument(
        '--num',
        type=int,
        help="keep the best so many boxes of an image; default: the localizer's max_per_img "
        '(300 in pretraining, of which num_regions are drawn each time)',
    )
    parser.add_argument(
        '--resize',
        nargs=2,
        type=int,
        metavar=('SHORT', 'MAX'),
        help="short side and greatest long side of the images; default: the pipeline's resizing",
    )
    parser.add_argument(
        '--precision',
        choices=['float32', 'bfloat16'],
        default='float32',
        help='of the convolutions; objectness in bfloat16 is a little off (default: float32)',
    )
    parser.add_argument(
        '--teacher',
        nargs='?',
        choices=['float16', 'float32'],
        const='float16',
        help="also write the teacher's embeddings of all boxes, 00000.teacher.npz, float16 unless "
        'float32 is said; for RN50 they take 100 times the space of the boxes',
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
    parser.add_argument(
        '--overwrite', action='store_true', help='replace files that were made with other settings'
    )
    add_run_arguments(parser, 'train_dataloader.dataset.shards=00000.tar')
    args = parse_run_arguments(parser)
    if args.batch_size < 1 or (args.num is not None and args.num < 1):
        parser.error('--batch-size and --num must be positive')
    return args


def main() -> None:
    """Compute what is missing and print a summary."""
    args = parse_args()
    warn_of_unusable_gpu()
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    start_processes(args.launcher)
    torch.manual_seed(0)
    try:
        pipeline = fixed_view(from_config.dataset_config(cfg).pipeline, args.resize)
        maker = ProposalMaker(
            from_config.localizer_config(cfg, args.checkpoint),
            cfg.model.data_preprocessor,
            from_config.teacher_config(cfg) if args.teacher else None,
            args.num,
            args.precision,
            args.teacher or 'float16',
        )
        maker.ensure_weights()
        dataset = from_config.build_dataset(cfg, pipeline)
        folder = args.out or from_config.proposals_folder(cfg, dataset)
        report = precompute(
            dataset,
            maker.to(get_device()),
            pipeline,
            folder,
            args.batch_size,
            args.workers,
            args.overwrite,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise SystemExit(f'Proposals are not complete: {error}') from None
    if get_dist_info()[0] == 0:
        print(f'{folder}: {report}', flush=True)
    end_distributed_run()


if __name__ == '__main__':
    main()
