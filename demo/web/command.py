# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The command that serves the page."""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
from collections.abc import Sequence
from functools import partial
from importlib import util
from pathlib import Path

from torch import nn

from regionclip_mmdet.apis import RegionCLIPInferencer
from regionclip_mmdet.apis.command_line import positive
from regionclip_mmdet.apis.querying import check_dimensions
from regionclip_mmdet.models.text import TextEmbeddings, get_templates

from .detections import DetectionService
from .examples import write_examples
from .requests import PageSettings
from .uploads import MB, ImageLimits
from .vocabularies import WordEmbedder, make_presets

# Embedded in one piece while others wait: about a second of two cores, of CLIP's size.
PROMPTS_AT_A_TIME = 64
_LEAST_NAMES = 4
# Read by gradio and its companions when they are imported: say nothing to anyone.
_SILENCE = dict(GRADIO_ANALYTICS_ENABLED='False', HF_HUB_DISABLE_TELEMETRY='1', HF_HUB_OFFLINE='1')


def main(description: str, arguments: Sequence[str] | None = None) -> None:
    """Read the command line, load the model, serve until told to stop."""
    args = _parse_args(description, arguments)
    if util.find_spec('gradio') is None:
        raise SystemExit("The page needs gradio: pip install 'regionclip_mmdet[web]'")
    os.environ.update(_SILENCE)
    with tempfile.TemporaryDirectory(prefix='regionclip_web_') as folder:
        os.environ['GRADIO_TEMP_DIR'] = str(Path(folder, 'gradio'))  # uploads; gone at the end
        try:
            service, own = make_service(args)
        except (OSError, RuntimeError, ValueError) as error:
            raise SystemExit(f'The page cannot be served: {error}') from None
        _serve(args, service, own, Path(folder))


def make_service(args: argparse.Namespace) -> tuple[DetectionService, TextEmbeddings | None]:
    """Load what the command line names.

    Returns:
        What answers queries, and the checkpoint's own vocabulary.

    Raises:
        OSError: A file is missing or cannot be read.
        RuntimeError: Weights do not fit the model.
        ValueError: Embeddings or a text encoder of another width.
    """
    inferencer = RegionCLIPInferencer(
        args.config,
        args.checkpoint,
        device=args.device,
        text_encoder=args.text_encoder,
        embedding_cache=args.embedding_cache,
        show_progress=False,
    )
    model = inferencer.model
    own = model.roi_head.bbox_head.active_classifier.vocabulary
    lists = [_load_embeddings(path, model) for path in args.embeddings]
    lists += [own] if own is not None else []
    templates = args.templates or inferencer.cfg.get('prompts') or 'single'
    embed = partial(inferencer.embeddings.encode_names, templates=templates)
    try:
        print(f'Words are read by a text encoder: {inferencer.embeddings.encoder.weights_source}')
    except RuntimeError as error:
        if args.text_encoder is not None or not lists:
            raise
        embed = None
        print(f'Only names with embeddings in hand can be used: {error}')
    limits = ImageLimits(
        max_bytes=round(args.max_upload_mb * MB), max_pixels=round(args.max_image_size * 1e6)
    )
    # a turn lasts about as long as this many prompts, whatever the templates
    names_at_a_time = max(_LEAST_NAMES, PROMPTS_AT_A_TIME // len(get_templates(templates)))
    words = WordEmbedder(embed, lists, chunk=names_at_a_time)
    return DetectionService(model, words, limits, args.max_names, args.kept_images), own


def _load_embeddings(path: str, model: nn.Module) -> TextEmbeddings:
    known = TextEmbeddings.load(path)
    try:
        check_dimensions(model, known)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    return known


def _serve(
    args: argparse.Namespace, service: DetectionService, own: TextEmbeddings | None, folder: Path
) -> None:
    from .page import build_page, launch_settings

    known = service.embedder.known
    presets = make_presets(own)
    if known is not None:
        presets = tuple(preset for preset in presets if known.issuperset(preset.names))
    test_cfg = service.model.roi_head.test_cfg
    limits = service.limits
    about = (
        f'{Path(args.config).name}, {Path(args.checkpoint).name} on {args.device}. Images of up '
        f'to {limits.max_bytes / MB:g} MB and {limits.max_pixels / 1e6:g} megapixels, up to '
        f'{service.max_names:,} names. Uploads are deleted after an hour or two.'
    )
    settings = PageSettings(
        about=about,
        score_thr=args.score_thr,
        max_score=2.0 if test_cfg.get('objectness') == 'logit' else 1.0,
        max_per_img=args.max_per_img,
        iou_thr=test_cfg.get('nms', {}).get('iou_threshold'),
        concurrency=args.concurrency,
        queue_size=args.queue_size,
    )
    page = build_page(service, presets, write_examples(folder, known, own), settings)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        page.launch(
            server_name=args.host,
            server_port=args.port,
            root_path=args.root_path,
            max_file_size=limits.max_bytes,
            prevent_thread_lock=True,
            quiet=True,
            **launch_settings(),
        )
    except OSError as error:
        raise SystemExit(
            f'Nothing can be served at {args.host}:{args.port}: {error} Try another --port.'
        ) from None
    print(f'Serving http://{args.host}:{args.port} (Ctrl+C ends it)', flush=True)
    stopped.wait()
    page.close(verbose=False)


def _parse_args(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('config', help='config of an OpenVocabularyRCNN')
    add('checkpoint', help='its weights')
    add('--device', default='cpu', help='cpu (default), cuda, cuda:1, ...')
    names = parser.add_argument_group('names')
    add = names.add_argument
    add(
        '--text-encoder',
        metavar='WEIGHTS',
        help="what reads the visitors' words, where config and checkpoint have none: RN50/openai "
        '(open_clip downloads it), or a file of CLIP weights. Without any, only names with '
        'embeddings in hand can be used',
    )
    add(
        '--embeddings',
        nargs='+',
        default=[],
        metavar='FILE',
        help='embeddings of tools/embed_names.py, used when one file has all names of a query: '
        'such lists need no text encoder, and have the 81 prompts of the paper',
    )
    add(
        '--templates',
        help='prompts for all other names: single ("a photo of a ..."), plain, ensemble81 (81 '
        "times the time); default: the config's own prompts, else single",
    )
    add('--embedding-cache', metavar='FOLDER', help='keep embeddings of names beyond this run')
    add('--max-names', type=positive(int), default=10_000, help='per query (default: 10000)')
    first = parser.add_argument_group('what the page begins with')
    add = first.add_argument
    add('--score-thr', type=float, default=0.3, help='lowest score (default: 0.3)')
    add('--max-per-img', type=positive(int), default=50, help='most detections (default: 50)')
    server = parser.add_argument_group('server')
    add = server.add_argument
    add('--host', default='127.0.0.1', help='0.0.0.0: all interfaces (default: this machine only)')
    add('--port', type=_port, default=7860, help='default: 7860')
    add('--root-path', default=None, help='path at which a proxy shows the page, e.g. /regionclip')
    add(
        '--max-upload-mb',
        type=positive(float),
        default=20,
        metavar='MB',
        help='largest file (default: 20)',
    )
    add(
        '--max-image-size',
        type=positive(float),
        default=50,
        metavar='MEGAPIXELS',
        help='largest image, looked up before it is decoded (default: 50)',
    )
    add(
        '--concurrency',
        type=positive(int),
        default=PageSettings.concurrency,
        help='queries under way at a time, which take turns in computing: a short one is '
        'answered while a long one goes on (default: %(default)s)',
    )
    add(
        '--queue-size',
        type=positive(int),
        default=PageSettings.queue_size,
        help='queries that may wait; further ones are told so (default: %(default)s)',
    )
    add(
        '--kept-images',
        type=positive(int),
        default=16,
        help='encoded images kept, for all visitors together (default: 16)',
    )
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    value = int(text)
    if not 0 < value < 2**16:
        raise argparse.ArgumentTypeError(f'{text} does not lie between 1 and {2**16 - 1}')
    return value
