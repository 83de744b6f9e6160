# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Requests to the page with any values and damaged uploads: an answer, or a message of ours.

The page's own way without gradio, with a real detector: what gradio hands over goes in, what it
shows comes out. Words and files of names, too, as damaged.
"""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz.time_limit import time_limit
from mmdet.apis import init_detector
from PIL import Image

from demo.web import (
    DetectionService,
    ImageLimits,
    UserError,
    WordEmbedder,
    make_presets,
    outcomes,
    words_of,
)
from demo.web.requests import NO_PRESET, PageSettings, RequestReader
from helpers import tiny_web
from regionclip_mmdet.apis import parse_vocabulary
from regionclip_mmdet.recipes.name_lists import read_names
from regionclip_mmdet.recipes.words import split_words

pytestmark = pytest.mark.slow
CASES = 400
PIECES = [
    *'.,;:\'"[](){}<>!?/\\|•。、，；“”«»-_+&%#@*~^$ \t\n\r\v',
    *'\x00\x1b\x85\u2028\u200b\u200d\ufeff\ud800\u0301',
    *('cat', 'dog', 'st. bernard', 'mr.', 'U.S.', 'größe', '猫', 'كلب', '🐱', '0.5', '7', '1e-05'),
    *(' . ', '. ', ', ', '\r\n', "['", "', '", "']", '["', '", "', '<name>', '</a>'),
    *('{"a": 1}', '&amp;'),
    *('a' * 300, 'None', 'nan', 'NULL', '%s', '../', 'names.txt', 'coco_80', '<|endoftext|>'),
]  # fmt: skip


def words(rng: random.Random) -> str:
    return ''.join(rng.choices(PIECES, k=rng.choice([1, 2, 4, 8, 30, 200])))


def anything(rng: random.Random, depth: int = 0) -> Any:
    """A value that JSON can hold, and some that it cannot."""
    kind = rng.randrange(12 if depth < 4 else 9)
    if kind == 9:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind >= 10:
        keys = ['path', 'url', 'meta', '_type', 'size', words(rng)]
        return {rng.choice(keys): anything(rng, depth + 1) for _ in range(rng.randrange(4))}
    numbers = [0, -1, 1, 7, 10**9, 10**400, -(10**400), 0.5, 1e300, 5e-324]
    numbers += [float('inf'), float('-inf'), float('nan')]
    return [
        None, True, False, '', words(rng), rng.choice(numbers), -rng.random(), rng.randrange(400),
        words(rng).encode(errors='replace'),
    ][kind]  # fmt: skip


def upload(rng: random.Random) -> bytes:
    """An image of some kind, whole or damaged, or none."""
    side = rng.choice([(40, 30), (64, 64), (9, 120), (1, 1), (8, 8), (500, 9)])
    mode = rng.choice(['RGB', 'L', 'RGBA', 'P', '1', 'LA', 'I;16', 'CMYK'])
    fitting = {'CMYK': ['JPEG', 'TIFF'], 'I;16': ['PNG', 'TIFF'], 'LA': ['PNG', 'WEBP']}
    kind = rng.choice(fitting.get(mode, ['PNG', 'TIFF']) if mode != 'RGB' else KINDS)
    noise = np.frombuffer(rng.randbytes(side[0] * side[1] * 3), np.uint8).reshape(*side, 3)
    buffer = io.BytesIO()
    image = Image.fromarray(noise)
    image = image.convert('L').convert(mode) if mode == 'I;16' else image.convert(mode)
    image.save(buffer, kind)
    content = bytearray(buffer.getvalue())
    damage = rng.randrange(6)
    if damage == 1:
        content = content[: rng.randrange(len(content) + 1)]
    elif damage == 2:
        for _ in range(rng.choice([1, 3, 30])):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif damage == 3:  # the header, where sizes are
        content[rng.randrange(min(40, len(content)))] ^= 1 << rng.randrange(8)
    elif damage == 4:
        place = rng.randrange(len(content))
        content[place:place] = rng.randbytes(rng.choice([1, 9, 3000]))
    elif damage == 5 and rng.random() < 0.3:
        content = bytearray(rng.choice([b'', b'%!PS-Adobe-3.0 EPSF-3.0', b'<svg/>', b'\x00' * 99]))
    return bytes(content)


KINDS = ['PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM', 'TGA']


def request(rng: random.Random, uploads: Path, titles: list[str]) -> tuple[Any, list[Any]]:
    """An image and six values; most are as the page sends them."""
    file = uploads / f'{rng.randrange(10**9)}.png'
    file.write_bytes(upload(rng))
    places = [file, uploads / 'none.png', '/dev/zero', uploads.parent / 'secret.png', 'x\x00', '..']
    image = dict(path=str(file), meta=dict(_type='gradio.FileData'))
    if rng.random() < 0.15:
        image['path'] = str(rng.choice(places))
    sent = [
        'cat . zebra', rng.choice(titles), rng.random(), rng.randrange(1, 300),
        rng.randrange(1, 20), rng.random(),
    ]  # fmt: skip
    if rng.random() < 0.3:
        sent[0] = words(rng)
    for place in range(len(sent)):
        if rng.random() < 0.06:
            sent[place] = anything(rng)
    return anything(rng) if rng.random() < 0.1 else image, sent


def test_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, checkpoint = tiny_web.write_detector(tmp_path)
    model = init_detector(str(config), str(checkpoint), palette='random', device='cpu')
    model.ensure_weights('text_encoder')
    faults: list[str] = []
    monkeypatch.setattr(outcomes, 'print_log', lambda text, *_: faults.append(text))
    uploads = tmp_path / 'uploads'
    uploads.mkdir()
    Image.new('RGB', (64, 48), 'red').save(tmp_path / 'secret.png')
    embedder = WordEmbedder(partial(model.text_encoder.encode_names, templates='plain'))
    service = DetectionService(model, embedder, ImageLimits(2**20, 10**6), max_names=150)
    presets = make_presets(model.roi_head.bbox_head.active_classifier.vocabulary)[:3]
    reader = RequestReader(service, presets, PageSettings(), uploads)
    ends: Counter = Counter()
    for seed in range(CASES):
        rng = random.Random(seed)
        image, sent = request(rng, uploads, [NO_PRESET, *(p.title for p in presets)])
        with time_limit():
            for shown in (reader.look(image), reader.detect(image, sent)):
                assert not faults, (seed, sent, faults[0])
                kind = next(k for k in ('done', 'error', 'wait') if f'rc-status rc-{k}' in shown[0])
                assert str(tmp_path) not in shown[0], (seed, shown[0])
                json.dumps(shown[2:])
                ends[kind] += 1
            assert reader.refresh(image, sent) is None or not faults, (seed, sent, faults)
    assert min(ends['done'], ends['error'], ends['wait']) > CASES / 10, ends


def test_words_and_files_of_names(tmp_path: Path) -> None:
    ends: Counter = Counter()
    path = tmp_path / 'names.txt'
    for seed in range(CASES):
        rng = random.Random(seed)
        text = words(rng)
        with time_limit():
            try:
                names = split_words(text)
            except ValueError as error:
                assert '\n' not in str(error) and len(str(error)) < 400, seed
                with pytest.raises(UserError):
                    words_of(text)
                ends['refused'] += 1
            else:
                assert all(name and name == ' '.join(name.split()) for name in names), (seed, names)
                # what came out is taken as it is when it is given as a list
                assert not names or set(parse_vocabulary(names)) <= set(names), (seed, names)
                ends['names'] += 1
            content = bytearray(text.encode(errors='surrogatepass'))
            if content and seed % 3 == 0:
                content[rng.randrange(len(content))] = rng.randrange(256)
            path.write_bytes(content)
            try:
                assert read_names(str(path))
                ends['file'] += 1
            except ValueError as error:
                assert str(path) in str(error), (seed, error)
                ends['file refused'] += 1
    assert min(ends.values()) > CASES / 20 and len(ends) == 4, ends
