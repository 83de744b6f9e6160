# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The page as visitors have it: a server of its own process, a headless Chromium."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import tiny_web

pytest.importorskip('gradio')
web_browser = pytest.importorskip('helpers.web_browser')  # needs playwright
pytestmark = pytest.mark.web

WORDS = 'zebra . green cube . red ball .'


@pytest.fixture(scope='module')
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp('server')
    files = map(str, tiny_web.write_detector(folder))
    options = ['--max-upload-mb', '1', '--max-image-size', '2', '--score-thr', '0.1']
    with web_browser.server(folder, *files, *options) as address:
        yield address


@pytest.fixture(scope='module')
def chromium() -> Iterator[object]:
    with web_browser.browser() as chromium:
        yield chromium


@pytest.fixture
def visitor(chromium: object, address: str) -> Iterator[object]:
    visitor = web_browser.Visitor(chromium, address)
    yield visitor
    assert not visitor.faults
    strangers = [r for r in visitor.requests if not r.startswith((address, 'data:', 'blob:'))]
    assert not strangers, 'the page asks other machines'
    visitor.page.context.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return save(tmp_path / 'photo.png')


def save(path: Path, seed: int = 0, size: tuple[int, int] = (240, 320)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_upload_write_detect(visitor: object, photo: Path) -> None:
    assert visitor.choose(photo) == 'Image of 320 x 240 pixels. Press Detect.'
    visitor.write(WORDS)
    status = visitor.detect()
    assert 'compared with 3 names' in status and 'encoded now' in status
    rows, drawn = visitor.rows(), visitor.image()
    assert rows and {row[0] for row in rows} <= {'zebra', 'green cube', 'red ball'}
    scores = [float(row[1]) for row in rows]
    assert scores == sorted(scores, reverse=True) and min(scores) >= 0.1

    # the same without boxes: a threshold that nothing passes, on the encoded image
    visitor.set_score('1')
    status = visitor.detect()
    assert '0 detections' in status and 'encoded earlier' in status and not visitor.rows()
    plain = visitor.image()
    assert plain.shape == drawn.shape
    changed = (plain != drawn).any(2)
    factor = plain.shape[1] / 320
    x1, y1, x2, y2 = (round(float(v) * factor) for v in rows[0][2].split(','))
    sides = [
        changed[max(y1 - 3, 0) : y1 + 4, x1:x2].any(0),
        changed[max(y2 - 3, 0) : y2 + 4, x1:x2].any(0),
        changed[y1:y2, max(x1 - 3, 0) : x1 + 4].any(1),
        changed[y1:y2, max(x2 - 3, 0) : x2 + 4].any(1),
    ]
    assert all(side.mean() > 0.9 for side in sides)


def test_the_slider_asks_again(visitor: object, photo: Path) -> None:
    visitor.choose(photo)
    visitor.write(WORDS)
    visitor.detect()
    before = visitor.status()
    bar = visitor.page.locator('#rc-score input[type=range]').bounding_box()
    visitor.page.mouse.click(bar['x'] + bar['width'] - 3, bar['y'] + bar['height'] / 2)
    visitor.wait_for('0 detections')
    assert visitor.status() != before


def test_regions_and_json(visitor: object, photo: Path) -> None:
    visitor.choose(photo)
    visitor.write(WORDS)
    visitor.detect()
    visitor.page.get_by_role('tab', name='What each region resembles').click()
    number, text = visitor.cells('#rc-regions')[0]
    best = [part.rsplit(' ', 1) for part in text.split(', ')]
    assert number == '1'
    assert {name for name, _ in best} == {'zebra', 'green cube', 'red ball'}
    assert sum(float(prob) for _, prob in best) <= 1.02
    visitor.page.get_by_role('tab', name='JSON').click()
    visitor.page.locator('#rc-json', has_text='detections').wait_for()


def test_the_button_rests_while_a_query_runs(visitor: object, photo: Path) -> None:
    visitor.choose(photo)
    visitor.write('\n'.join(f'name {i}' for i in range(3000)))
    visitor.press()
    visitor.page.locator('#rc-detect[disabled]', has_text='Detecting').wait_for()
    assert '3,000 names' in visitor.answered()


def test_another_image_ends_the_query(visitor: object, photo: Path, tmp_path: Path) -> None:
    def names(first: str) -> str:
        return '\n'.join(f'{first} {i}' for i in range(3000))

    visitor.choose(photo)
    visitor.write(names('known'))
    started = time.monotonic()
    visitor.detect()
    took = time.monotonic() - started
    visitor.write(names('unknown'))
    visitor.press()
    visitor.page.locator('#rc-detect[disabled]', has_text='Detecting').wait_for()
    visitor.choose(save(tmp_path / 'other.png', seed=1, size=(60, 80)))
    visitor.page.wait_for_timeout(2000 * took)  # longer than the query takes
    assert visitor.status() == 'Image of 80 x 60 pixels. Press Detect.'
    assert not visitor.rows()
    visitor.write(WORDS)
    assert 'compared with 3 names' in visitor.detect()


def test_broken_files(visitor: object, photo: Path, tmp_path: Path) -> None:
    visitor.write(WORDS)
    cut_off, text, claims = (tmp_path / f'{name}.png' for name in ('cut_off', 'text', 'claims'))
    cut_off.write_bytes(photo.read_bytes()[:5000])
    text.write_text('no image at all')
    Image.new('RGB', (2000, 1100)).save(claims)
    for file, message in [
        (cut_off, 'cannot be decoded'),
        (text, 'no image that can be read'),
        (claims, '2.2 megapixels; this server takes up to 2'),
    ]:
        assert message in visitor.choose(file)
        assert message in visitor.detect()
        assert visitor.page.locator('.rc-error').count() == 1
        assert not visitor.rows()
    visitor.choose(photo)
    assert 'detections of' in visitor.detect()


def test_too_large_a_file(visitor: object, photo: Path, address: str, tmp_path: Path) -> None:
    large = tmp_path / 'large.png'
    large.write_bytes(photo.read_bytes() + bytes(2**20))
    visitor.page.set_input_files('#rc-image input[type=file]', large)
    assert 'exceed the maximum allowed size of 1.0 Mb' in visitor.toasts()
    # nor past the page
    answer = visitor.page.request.post(
        f'{address}/gradio_api/upload',
        multipart=dict(files=dict(name='a.png', mimeType='image/png', buffer=large.read_bytes())),
    )
    assert answer.status == 413
    visitor.choose(photo)
    visitor.write(WORDS)
    assert 'detections of' in visitor.detect()


def test_queries_without_image_or_words(visitor: object, photo: Path) -> None:
    visitor.write(WORDS)
    assert 'No image yet' in visitor.detect()
    visitor.choose(photo)
    visitor.write(' . ')
    assert 'No names yet' in visitor.detect()
    visitor.write('x' * 300)
    assert '300 characters' in visitor.detect()
    visitor.write('<img src=x onerror=alert(1)> . zebra')
    assert 'holds markup' in visitor.detect()
    assert visitor.page.locator('#rc-status img').count() == 0
    visitor.write(WORDS)
    assert '3 names' in visitor.detect()


def test_many_names_and_too_many(visitor: object, photo: Path) -> None:
    visitor.choose(photo)
    visitor.write('\n'.join(f'name {i}' for i in range(5000)))
    assert 'compared with 5,000 names' in visitor.detect()
    visitor.write(' . '.join(f'name {i}' for i in range(10_001)))
    assert '10,001 names are more than the 10,000' in visitor.detect()


def test_presets(visitor: object, photo: Path) -> None:
    visitor.choose(photo)
    for title, words, count in [('COCO, 65', '', '65'), ('LVIS', 'zebra . green cube', '1,204')]:
        visitor.page.click('#rc-preset input')
        visitor.page.get_by_role('option', name=title).click()
        visitor.write(words)
        assert f'compared with {count} names' in visitor.detect()


def test_two_visitors_at_once(chromium: object, address: str, tmp_path: Path) -> None:
    visitors = [web_browser.Visitor(chromium, address) for _ in range(2)]
    mine = [('zebra', 'green cube'), ('traffic cone', 'red ball', 'horse')]
    for turn in range(3):
        for i, visitor in enumerate(visitors):
            visitor.choose(save(tmp_path / f'{turn}_{i}.png', seed=10 * turn + i))
            visitor.write(' . '.join(mine[i]))
        for visitor in visitors:
            visitor.press()
        for visitor, names in zip(visitors, mine):
            assert f'compared with {len(names)} names' in visitor.answered()
            found = {row[0] for row in visitor.rows()}
            assert found and found <= set(names)
    for visitor in visitors:
        visitor.page.context.close()


def test_more_visitors_than_may_wait(chromium: object, tmp_path: Path, photo: Path) -> None:
    """One is answered, one waits, the third is told so and asks again later."""
    files = map(str, tiny_web.write_detector(tmp_path))
    # 81 prompts, so that a query lasts
    options = ['--queue-size', '1', '--concurrency', '1', '--templates', 'ensemble81']
    with web_browser.server(tmp_path, *files, *options) as address:
        visitors = [web_browser.Visitor(chromium, address) for _ in range(3)]
        for i, visitor in enumerate(visitors):
            visitor.choose(photo)
            visitor.write(' . '.join(f'name {i} {k}' for k in range(100)))
        for visitor in visitors:
            visitor.press()
        told = [visitor.answered() for visitor in visitors]
        busy = [i for i, status in enumerate(told) if 'Too many queries' in status]
        assert len(busy) == 1 and sum('100 names' in status for status in told) == 2
        assert '100 names' in visitors[busy[0]].detect()
        for visitor in visitors:
            visitor.page.context.close()


def test_examples_need_no_network(visitor: object) -> None:
    pytest.importorskip('skimage')  # which brings the photographs
    visitor.page.locator('tr.tr-body').first.click()
    visitor.wait_for('Press Detect')
    assert ' . ' in visitor.page.input_value('#rc-words textarea')
    assert 'compared with' in visitor.detect()


def test_a_phone(chromium: object, address: str, photo: Path) -> None:
    visitor = web_browser.Visitor(chromium, address, width=400)
    visitor.choose(photo)
    visitor.write(WORDS)
    visitor.detect()
    assert visitor.rows()
    assert visitor.page.evaluate('document.documentElement.scrollWidth') <= 400
    visitor.page.context.close()


def test_files_of_the_server_stay_there(visitor: object, address: str) -> None:
    answer = visitor.page.request.get(f'{address}/gradio_api/file={Path(__file__)}')
    assert answer.status in (403, 404)
