# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""docs/inference.md is right."""

from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path

import pytest

from helpers import tiny_inference
from regionclip_mmdet.apis import RegionCLIPInferencer
from regionclip_mmdet.apis.querying import OVERRIDES

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'inference.md'


def test_python_of_the_page_runs(
    files: tiny_inference.DetectorFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(files.config, 'detector.py')
    shutil.copy(files.checkpoint, 'detector.pth')
    for name in ('photo.jpg', 'other.jpg'):
        tiny_inference.save_image(tmp_path / name)
    blocks = re.findall(r'```python\n(.*?)```', PAGE.read_text(encoding='utf-8'), re.DOTALL)
    assert len(blocks) == 4
    space: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), 'exec'), space)
    (result,) = space['results']['predictions']
    assert set(result['names']) == {'traffic cone', 'red umbrella'}
    assert (tmp_path / 'found' / 'vis' / 'photo.jpg').is_file()
    assert len(space['found']['names']) == 80
    assert len(space['detections']) > 0
    stock = space['told']['predictions'][0].pred_instances.label_names
    assert set(stock) == {'traffic cone', 'red umbrella'}


def test_every_named_argument_and_key_is_there(files: tiny_inference.DetectorFiles) -> None:
    text = PAGE.read_text(encoding='utf-8')
    section = text[text.index('## Images and results') : text.index('## Video')]
    arguments = re.findall(r'`([a-z_]+)`', section[: section.index('A broken image')])
    known = {*inspect.signature(RegionCLIPInferencer.__call__).parameters, *OVERRIDES}
    assert set(arguments) <= known | {'query'} and len(arguments) > 12
    keys = set(re.findall(r'^\| `([a-z_]+)`', section, re.MULTILINE))
    one = RegionCLIPInferencer(files.bare_config, files.bare_checkpoint, 'cpu')
    found = one(tiny_inference.image(), files.names, return_region_embeddings=True)
    assert set(found['predictions'][0]) - {'img_path'} == keys - {'masks'}
