# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Write a detector as ONNX files (or programs of torch.export) that need no torch.

    python tools/export_onnx.py CONFIG CHECKPOINT FOLDER
    python tools/export_onnx.py CONFIG CHECKPOINT FOLDER --graphs detector text_encoder
    python tools/export_onnx.py CONFIG CHECKPOINT FOLDER --formats onnx torch

The folder gets one file per graph, detector.json (how images are prepared and boxes selected),
vocabulary.npz (the names and their embeddings) and onnx_detector.py, which uses them with
onnxruntime and NumPy. docs/export.md says what is inside the graphs and what is not.
"""

import argparse
import sys

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
from mmdet.apis import init_detector
from mmengine.config import DictAction
from mmengine.logging import MMLogger

from regionclip_mmdet.apis.model_sources import read_model_config
from regionclip_mmdet.export import GRAPHS, export_detector
from regionclip_mmdet.models.text import TextEmbeddings


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    graphs = '\n'.join(f'  {name:<13} {spec.help}' for name, spec in GRAPHS.items())
    parser = argparse.ArgumentParser(
        description=f'{__doc__}\ngraphs:\n{graphs}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='a file, or the name of a config of this package')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('folder', help='where the files go')
    parser.add_argument(
        '--graphs',
        nargs='+',
        choices=list(GRAPHS),
        metavar='GRAPH',
        help='what to write (default: localizer, if there is one, backbone and regions)',
    )
    parser.add_argument(
        '--formats', nargs='+', choices=['onnx', 'torch'], default=['onnx'], help='default: onnx'
    )
    parser.add_argument(
        '--vocabulary', help='file of tools/embed_names.py; default: the names of the checkpoint'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='KEY=VALUE ...')
    return parser.parse_args()


def main() -> int:
    """Export; the exit code."""
    args = parse_args()
    MMLogger.get_current_instance().setLevel('WARNING')
    try:
        cfg = read_model_config(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        model = init_detector(cfg, args.checkpoint, device='cpu', palette='random')
        if args.vocabulary:
            model.set_vocabulary(TextEmbeddings.load(args.vocabulary))
        written = export_detector(
            model,
            args.folder,
            args.graphs,
            args.formats,
            cfg.test_dataloader.dataset.pipeline,
            progress=True,
        )
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for path in written:
        print(f'{path}  {path.stat().st_size / 2**20:.1f} MiB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
