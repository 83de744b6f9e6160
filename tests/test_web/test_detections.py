# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Answers equal mmdet's own way of asking; images are encoded once; visitors do not meet."""

from __future__ import annotations

import copy
import io
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.apis import inference_detector, init_detector
from PIL import Image
from torch import nn

from demo.web import (
    DetectionService,
    ImageLimits,
    Query,
    UserError,
    WordEmbedder,
    read_upload,
)
from demo.web import detections as module
from demo.web.turns import Turns
from demo.web.uploads import UploadedImage
from helpers import tiny_models, tiny_web
from regionclip_mmdet.models.text import TextEmbeddings

WORDS = 'zebra . green cube . dog .'
NAMES = ('zebra', 'green cube', 'dog')


def upload(seed: int = 0, size: tuple[int, int] = (120, 150)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return buffer.getvalue()


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    config, checkpoint = tiny_web.write_detector(tmp_path_factory.mktemp('web'))
    model = init_detector(str(config), str(checkpoint), palette='random', device='cpu')
    model.ensure_weights('text_encoder')
    return model


@pytest.fixture
def words(model: nn.Module) -> WordEmbedder:
    return WordEmbedder(partial(model.text_encoder.encode_names, templates='single'))


@pytest.fixture
def service(model: nn.Module, words: WordEmbedder) -> DetectionService:
    return DetectionService(model, words, kept_images=2)


@pytest.fixture
def encodings(model: nn.Module) -> list[int]:
    """Grows by one with every pass through the backbone."""
    passes: list[int] = []
    handle = model.backbone.register_forward_hook(lambda *_: passes.append(1))
    yield passes
    handle.remove()


@pytest.mark.parametrize(
    'settings', [dict(score_thr=0.2), dict(score_thr=0.0, max_per_img=7, iou_thr=0.3)]
)
def test_answers_are_those_of_the_model(
    model: nn.Module, service: DetectionService, settings: dict
) -> None:
    outcome = service.answer(upload(), Query(WORDS, **settings))
    # mmdet's way, of a model that is set to these names and numbers
    other = copy.deepcopy(model)
    other.set_vocabulary(NAMES, 'single')
    cfg = other.roi_head.test_cfg
    cfg.update(score_thr=settings['score_thr'], max_per_img=settings.get('max_per_img', 50))
    cfg.nms.iou_threshold = settings.get('iou_thr', 0.5)
    rgb = np.asarray(Image.open(io.BytesIO(upload())))
    expected = inference_detector(other, rgb[..., ::-1].copy()).pred_instances
    assert len(expected) > 5
    assert [found['name'] for found in outcome.detections] == [
        NAMES[label] for label in expected.labels
    ]
    scores = [found['score'] for found in outcome.detections]
    boxes = [found['box'] for found in outcome.detections]
    assert scores == pytest.approx(expected.scores.tolist(), abs=6e-4)
    assert np.abs(np.array(boxes) - expected.bboxes.numpy()).max() < 0.06
    assert f'{len(expected)} detections' in outcome.summary


def test_what_regions_resemble(model: nn.Module, service: DetectionService) -> None:
    outcome = service.answer(upload(), Query(WORDS, score_thr=0.0, top_k=2))
    (encoded,) = service._encoded.values()
    text = model.text_encoder.encode_names(NAMES, 'single').matrix
    cosines = F.cosine_similarity(encoded.embeddings[:, None], text[None], dim=-1)
    with_background = torch.cat([cosines / 0.01, torch.zeros(len(cosines), 1)], dim=1)
    probs = with_background.softmax(dim=1)[:, :-1]
    boxes = encoded.boxes.numpy().round(1)
    assert [r['region'] for r in outcome.regions] == list(range(1, len(outcome.regions) + 1))
    assert {r['region'] for r in outcome.regions} == {d['region'] for d in outcome.detections}
    for region in outcome.regions:
        (row,) = np.flatnonzero(np.abs(boxes - region['box']).max(1) < 0.11)
        values, labels = probs[row].sort(descending=True)
        assert [found['name'] for found in region['names']] == [NAMES[i] for i in labels[:2]]
        listed = [found['probability'] for found in region['names']]
        assert listed == pytest.approx(values[:2].tolist(), abs=2e-4)


def test_boxes_are_drawn(service: DetectionService) -> None:
    outcome = service.answer(upload(), Query(WORDS, score_thr=0.1, max_per_img=1))
    before = np.asarray(Image.open(io.BytesIO(upload())))
    assert outcome.visualization.dtype == np.uint8 and outcome.visualization.shape[2] == 3
    factor = outcome.visualization.shape[1] / before.shape[1]
    assert outcome.visualization.shape[0] == round(before.shape[0] * factor)
    nothing = service.answer(upload(), Query(WORDS, score_thr=1.0))
    assert not nothing.detections and not nothing.regions and '0 detections' in nothing.summary
    changed = (outcome.visualization != nothing.visualization).any(2)
    x1, y1, x2, y2 = (round(v * factor) for v in outcome.detections[0]['box'])
    assert changed[y1 : y2 + 1, max(x1 - 2, 0) : x1 + 3].any(1).mean() > 0.9
    assert len(outcome.detections) == 1 and changed.mean() < 0.4


def test_an_image_is_encoded_once(service: DetectionService, encodings: list[int]) -> None:
    first = service.answer(upload(), Query(WORDS, score_thr=0.1))
    service.answer(upload(), Query('horse', score_thr=0.2, max_per_img=3))
    again = service.answer(upload(), Query(WORDS, score_thr=0.1))
    assert len(encodings) == 1
    assert again.detections == first.detections and np.array_equal(
        again.visualization, first.visualization
    )
    service.answer(upload(1), Query(WORDS))
    service.answer(upload(), Query(WORDS))  # asked last, so the other one is forgotten next
    service.answer(upload(2), Query(WORDS))
    assert len(encodings) == 3 and len(service._encoded) == 2
    service.answer(upload(), Query(WORDS))
    assert len(encodings) == 3
    service.answer(upload(1), Query(WORDS))
    assert len(encodings) == 4


def test_visitors_do_not_meet(
    model: nn.Module, words: WordEmbedder, service: DetectionService, encodings: list[int]
) -> None:
    """Eight threads, two images, four lists of words: each gets what it gets alone."""
    asked = ['zebra . dog', 'green cube', 'horse . cat . bird', 'traffic cone . dog']
    queries = [(upload(i % 2), Query(asked[i % 4], score_thr=0.0)) for i in range(16)]
    alone = [DetectionService(model, words).answer(*query) for query in queries[:4]]
    own = model.roi_head.bbox_head.active_classifier.names
    encodings.clear()
    barrier = threading.Barrier(8)

    def ask(number: int) -> list[dict]:
        if number < 8:
            barrier.wait()
        return service.answer(*queries[number]).detections

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(16)))
    for number, detections in enumerate(found):
        expected = alone[number % 4].detections
        assert [d['name'] for d in detections] == [d['name'] for d in expected]
        assert [d['score'] for d in detections] == pytest.approx(
            [d['score'] for d in expected], abs=2e-3
        )
    assert len(encodings) == 2
    assert model.roi_head.bbox_head.active_classifier.names == own == tiny_models.NAMES


def test_a_long_list_of_names_does_not_hold_up_others(model: nn.Module) -> None:
    """In the middle of one visitor's names another one comes, and is answered first."""
    turns, finished, others = Turns(seconds=0), [], []

    def ask(word: str, number: int) -> None:
        names = ' . '.join(f'{word} {i}' for i in range(number))
        service.answer(upload(), Query(names))
        finished.append(word)

    def embed(names: Sequence[str]) -> TextEmbeddings:
        if names[0] == 'long 0':
            others.append(threading.Thread(target=ask, args=('short', 1)))
            others[0].start()
            while not turns.waiting:
                time.sleep(0.001)
        return model.text_encoder.encode_names(names, 'plain')

    service = DetectionService(model, WordEmbedder(embed, turns=turns, chunk=2))
    ask('long', 20)
    others[0].join()
    assert finished == ['short', 'long']


def test_fifty_visitors_are_answered_beside_a_long_list(
    model: nn.Module, words: WordEmbedder, service: DetectionService
) -> None:
    long = '\n'.join(f'thing {i}' for i in range(600))
    queries = [long, *(f'thing {i} . cat' for i in range(50))]
    barrier = threading.Barrier(len(queries))

    def ask(text: str) -> int:
        barrier.wait()
        outcome = service.answer(upload(), Query(text, score_thr=0.0))
        return int(outcome.summary.rsplit(' with ', 1)[1].split(' ')[0])

    with ThreadPoolExecutor(len(queries)) as pool:
        assert list(pool.map(ask, queries)) == [600, *[2] * 50]


def test_many_names_and_too_many(service: DetectionService) -> None:
    many = '\n'.join(f'thing {i}' for i in range(1500))
    stages: list[str] = []
    outcome = service.answer(
        upload(), Query(many, score_thr=0.0), lambda stage, part: stages.append(stage)
    )
    assert '1,500 names' in outcome.summary and len(outcome.detections) == 50
    assert 'Reading 1,500 names' in stages and 'Encoding the image (150 x 120), once' in stages
    service.max_names = 1499
    with pytest.raises(UserError, match='1,500 names are more than the 1,499'):
        service.answer(upload(), Query(many))


def test_preset_and_words_together(service: DetectionService) -> None:
    preset = ('cat', 'dog')
    query = Query('DOG . zebra', preset=preset, score_thr=0.0)
    assert query.names(10) == ('cat', 'dog', 'zebra')
    assert '3 names' in service.answer(upload(), query).summary


def test_words_are_checked_before_the_image_is_encoded(
    service: DetectionService, encodings: list[int]
) -> None:
    with pytest.raises(UserError, match='No names yet'):
        service.answer(upload(), Query(' . '))
    with pytest.raises(UserError, match='cannot be decoded'):
        service.answer(upload()[:900], Query(WORDS))
    assert not encodings
    assert service.look(upload()) == 'Image of 150 x 120 pixels.'


def test_images_are_looked_at_one_at_a_time(
    service: DetectionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    now: list[int] = []

    def slow(content: bytes, limits: ImageLimits) -> UploadedImage:
        now.append(1)
        time.sleep(0.02)
        together.append(len(now))
        now.pop()
        return read_upload(content, limits)

    monkeypatch.setattr(module, 'read_upload', slow)
    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(service.look, [upload()] * 6))) == 1
    assert together == [1] * 6


def test_a_large_image_is_shown_small_with_boxes_in_its_own_pixels(
    service: DetectionService,
) -> None:
    content = upload(size=(1000, 2000))
    outcome = service.answer(content, Query(WORDS, score_thr=0.0))
    assert outcome.visualization.shape[1] <= 1600
    assert max(found['box'][2] for found in outcome.detections) > 1600


def test_a_model_without_text_encoder_knows_its_own_names(tmp_path: Path) -> None:
    config, checkpoint = tiny_web.write_detector(tmp_path, with_text_encoder=False)
    model = init_detector(str(config), str(checkpoint), palette='random', device='cpu')
    own = model.roi_head.bbox_head.active_classifier.vocabulary
    service = DetectionService(model, WordEmbedder(None, [own]))
    assert service.answer(upload(), Query('dog . red ball', score_thr=0.0)).detections
    with pytest.raises(UserError, match='no text encoder'):
        service.answer(upload(), Query('zebra'))
