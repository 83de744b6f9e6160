# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images of several sizes, boxes for them, and the tool for region features run on them."""

from __future__ import annotations

import copy
import functools
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import tiny_inference, tiny_models
from regionclip_mmdet.apis.image_inputs import ImageInputs
from regionclip_mmdet.features import (
    ExtractionReport,
    RegionFeatures,
    RegionMaker,
    RegionSettings,
    extract_region_features,
    list_images,
    read_region_features,
)
from regionclip_mmdet.models.detectors import OpenVocabularyRCNN

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'extract_region_features.py'
# Height and width; three of one size.
SIZES = ((60, 80), (48, 96), (60, 80), (96, 120), (60, 80))
NAMES = ['00.png', '01.png', '02.png', 'more/03.png', 'more/04.png']


def write_images(folder: Path) -> Path:
    """``SIZES`` as ``NAMES``."""
    (folder / 'more').mkdir(parents=True, exist_ok=True)
    for number, (name, (height, width)) in enumerate(zip(NAMES, SIZES, strict=True)):
        tiny_inference.save_image(folder / name, height=height, width=width, seed=number)
    return folder


def annotations() -> dict[str, Any]:
    """Two boxes in the first image, none in the second, one in the third, a crowd in the fourth."""
    images = [
        dict(id=10 + i, file_name=name, height=height, width=width)
        for i, (name, (height, width)) in enumerate(zip(NAMES, SIZES, strict=True))
    ]
    rows = [
        dict(id=7, image_id=10, category_id=2, bbox=[10, 5, 30, 20]),
        dict(id=3, image_id=10, category_id=1, bbox=[40, 20, 60, 30]),  # reaches out
        dict(id=5, image_id=12, category_id=2, bbox=[0, 0, 80, 60]),
        dict(id=9, image_id=13, category_id=1, bbox=[1, 1, 50, 50], iscrowd=1),
    ]
    for row in rows:
        row.setdefault('iscrowd', 0)
        row['area'] = row['bbox'][2] * row['bbox'][3]
    categories = [dict(id=1, name='thing'), dict(id=2, name='stuff')]
    return dict(images=images, annotations=rows, categories=categories)


def write_json(path: Path, content: Any) -> Path:
    """A JSON file."""
    path.write_text(json.dumps(content))
    return path


def maker(**settings: Any) -> RegionMaker:
    """A tiny detector that makes regions; ``vocabulary`` and ``keep_probs`` are its own."""
    others = {key: settings.pop(key) for key in ('vocabulary', 'keep_probs') if key in settings}
    model = copy.deepcopy(detector())
    model.roi_head.test_cfg.update(settings.pop('rcnn', {}))
    return RegionMaker(model, RegionSettings(**settings), **others)


@functools.cache
def detector() -> OpenVocabularyRCNN:
    """Not to be changed."""
    return tiny_inference.detector(bbox_head=dict(temperature=0.1))


def inputs_of(made_by: RegionMaker) -> ImageInputs:
    """Its test pipeline."""
    return ImageInputs(made_by.model.cfg)


def extract(
    made_by: RegionMaker, photos: Path | str, out: Path, boxes: Any = None, **settings: Any
) -> ExtractionReport:
    """All regions of a source of images."""
    settings.setdefault('progress', False)
    return extract_region_features(
        made_by, list_images(photos), inputs_of(made_by), str(out), boxes, **settings
    )


def made(photos: Path, out: Path, **settings: Any) -> tuple[RegionMaker, RegionFeatures]:
    """A maker of some settings, and what it made."""
    made_by = maker(**settings)
    extract(made_by, photos, out)
    return made_by, read_region_features(out)


def vocabulary(number: int = 6) -> Any:
    """Names with random embeddings."""
    return tiny_models.vocabulary([f'name {i}' for i in range(number)], seed=4)


def run(script: Path, *arguments: object) -> None:
    """A tool in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [str(script), *map(str, arguments)])
        runpy.run_path(str(script), run_name='__main__')


def run_processes(number: int, *arguments: object) -> str:
    """The tool in processes that share the work; what they printed."""
    environment = dict(
        os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE'
    )
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(number)]
    command = [sys.executable, *launch, str(TOOL), *map(str, arguments), '--launcher', 'pytorch']
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of all files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
