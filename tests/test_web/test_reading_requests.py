# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What a request may hold: its values become a query, or a message. Gradio is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demo.web import ImageLimits, Outcome, Preset, Query, UserError
from demo.web.requests import NO_PRESET, PageSettings, RequestReader

VALUES = ('cat', NO_PRESET, 0.3, 50, 5, 0.5)


class Service:
    """Remembers what it was given."""

    limits = ImageLimits(max_bytes=2000)

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Query]] = []

    def look(self, upload: bytes) -> str:
        return f'{len(upload)} bytes.'

    def answer(self, upload: bytes, query: Query, report: object) -> Outcome:
        self.asked.append((upload, query))
        return Outcome(np.zeros((9, 9, 3), np.uint8), [], [], 'Answered.')


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    (tmp_path / 'uploads').mkdir()
    Image.new('RGB', (30, 20), 'red').save(tmp_path / 'uploads' / 'a.png')
    (tmp_path / 'secret.png').write_bytes(b'secret')
    return tmp_path / 'uploads'


@pytest.fixture
def reader(uploads: Path) -> RequestReader:
    return RequestReader(Service(), [Preset('Two', ('cow', 'ox'))], PageSettings(), uploads)


def test_a_query(reader: RequestReader, uploads: Path) -> None:
    upload = dict(path=str(uploads / 'a.png'))
    assert 'Answered.' in reader.detect(upload, ('cat', 'Two', 0.25, 7, 3, 0.75))[0]
    content, query = reader.service.asked[0]
    assert content == (uploads / 'a.png').read_bytes()
    assert query == Query('cat', ('cow', 'ox'), 0.25, 7, 0.75, 3)
    assert 'Press Detect' in reader.look(upload)[0]


@pytest.mark.parametrize(
    ('place', 'value', 'attribute', 'becomes'),
    [
        (0, None, 'words', ''),
        (1, None, 'preset', ()),
        (1, '', 'preset', ()),
        (2, -3, 'score_thr', 0.0),
        (2, 7, 'score_thr', 1.0),
        (3, 0, 'max_per_img', 1),
        (3, -1, 'max_per_img', 1),
        (3, 7.9, 'max_per_img', 7),
        (3, 10**400, 'max_per_img', 300),
        (4, float('inf'), 'top_k', 20),
        (5, 0, 'iou_thr', 0.1),
        (5, 9, 'iou_thr', 1.0),
    ],
)
def test_numbers_stay_within_their_sliders(
    reader: RequestReader, uploads: Path, place: int, value: Any, attribute: str, becomes: Any
) -> None:
    """0 and less would mean no limit at all."""
    values = [*VALUES[:place], value, *VALUES[place + 1 :]]
    assert 'Answered.' in reader.detect(dict(path=str(uploads / 'a.png')), values)[0]
    assert getattr(reader.service.asked[0][1], attribute) == becomes


@pytest.mark.parametrize(
    ('place', 'value', 'message'),
    [
        *((0, value, 'no text') for value in (5, ['cat'], {}, True, b'cat')),
        *((1, value, 'no such list') for value in (5, ['Two'], {}, 'Three', True)),
        *((2, value, 'lowest score is no number') for value in (None, '0.3', [1], True, np.nan)),
        (3, None, 'most detections is no number'),
        (4, {}, 'names listed is no number'),
        (5, 'x', 'overlap is no number'),
    ],
)
def test_values_of_other_types(
    reader: RequestReader, uploads: Path, place: int, value: Any, message: str
) -> None:
    values = [*VALUES[:place], value, *VALUES[place + 1 :]]
    upload = dict(path=str(uploads / 'a.png'))
    for shown in (reader.detect(upload, values), reader.refresh(upload, values)):
        assert message in shown[0] and 'rc-error' in shown[0] and shown[1:] == [None, [], [], None]
    assert not reader.service.asked


@pytest.mark.parametrize('values', [(None, None), ('', NO_PRESET), (' \n', NO_PRESET)])
def test_a_slider_asks_nothing_without_names_or_image(
    reader: RequestReader, uploads: Path, values: tuple
) -> None:
    assert reader.refresh(dict(path=str(uploads / 'a.png')), [*values, *VALUES[2:]]) is None
    assert reader.refresh(None, VALUES) is None


@pytest.mark.parametrize('upload', [None, {}, [], '', 0])
def test_no_image(reader: RequestReader, upload: Any) -> None:
    assert 'No image yet' in reader.detect(upload, VALUES)[0]
    assert 'rc-wait' in reader.look(upload)[0]


@pytest.mark.parametrize(
    'upload', [5, 'x', [1], True, dict(path=5), dict(path=None), dict(path=''), dict(url='x')]
)
def test_what_is_no_upload(reader: RequestReader, upload: Any) -> None:
    for shown in (reader.detect(upload, VALUES), reader.look(upload)):
        assert 'no uploaded image' in shown[0]


def test_no_other_file_is_read(reader: RequestReader, uploads: Path) -> None:
    (uploads / 'link.png').symlink_to(uploads.parent / 'secret.png')
    (uploads / 'loop.png').symlink_to(uploads / 'loop.png')
    around = uploads / '..' / 'secret.png'
    assert around.is_file()
    for path in (
        uploads.parent / 'secret.png', around, uploads / 'link.png', uploads / 'loop.png', uploads,
        uploads / 'none.png', uploads / ('x' * 5000), f'{uploads}/a\x00.png', '/dev/zero', 'a.png',
        '\ud800',
    ):  # fmt: skip
        with pytest.raises(UserError, match=r'no longer on the server\. Upload it again'):
            reader._read(dict(path=str(path)))
    assert not reader.service.asked


def test_no_more_is_read_than_may_be_uploaded(reader: RequestReader, uploads: Path) -> None:
    (uploads / 'large.png').write_bytes(bytes(9000))
    assert len(reader._read(dict(path=str(uploads / 'large.png')))) == 2001
