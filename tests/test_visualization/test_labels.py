# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Labels: what is written, in which font, and where."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from regionclip_mmdet.visualization import Row, Style, fonts
from regionclip_mmdet.visualization.canvas import Mark, plan_labels
from regionclip_mmdet.visualization.fonts import FontChain
from regionclip_mmdet.visualization.labels import break_line, layout_label, place_labels

RED = (200, 0, 0)
SIZES = [(64, 64), (64, 200), (640, 480), (3000, 2000), (4000, 300)]
TEXTS = ['cat 0.93', 'a photo of a man riding a very large brown horse 0.41', '', '红色雨伞 0.50']


def some_marks(number: int, size: tuple[int, int], seed: int = 0) -> list[Mark]:
    rng = np.random.default_rng(seed)
    corners = rng.random((number, 2, 2)) * size
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    return [
        Mark(tuple(box), RED, (Row(TEXTS[i % len(TEXTS)], RED),)) for i, box in enumerate(boxes)
    ]


def overlap(one: np.ndarray, other: np.ndarray) -> int:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return int(sides.clip(min=0).prod())


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('number', [1, 30, 100])
def test_labels_are_inside_the_image(size: tuple[int, int], number: int) -> None:
    labels, places = plan_labels(some_marks(number, size), size, FontChain(), Style())
    shown = [(label, place) for label, place in zip(labels, places) if label is not None]
    assert len(shown) >= 0.7 * number
    for label, (x1, y1, x2, y2) in shown:
        assert 0 <= x1 < x2 <= size[0] and 0 <= y1 < y2 <= size[1]
        assert (x2 - x1, y2 - y1) == (label.width, label.height)


def test_labels_do_not_cover_each_other_where_there_is_room() -> None:
    # ten boxes of one place: their first choices are all the same
    boxes = np.array([[300.0, 200.0, 420.0, 330.0]] * 10)
    placed = place_labels(boxes, [(90, 16)] * 10, (640, 480))
    pairs = [(i, j) for i in range(10) for j in range(i)]
    assert all(overlap(placed[i], placed[j]) == 0 for i, j in pairs)
    assert placed[0].tolist() == [300, 184, 390, 200]  # above the box, from its left edge
    for place in placed:  # none is far from the box
        gap = np.maximum(boxes[0][:2] - place[2:], place[:2] - boxes[0][2:]).max()
        assert gap <= 5 * 16


def test_thirty_labels_on_a_usual_image_are_apart() -> None:
    hidden, whole = 0, 0
    for seed in range(5):
        marks = some_marks(30, (640, 480), seed)
        labels, places = plan_labels(marks, (640, 480), FontChain(), Style())
        shown = [place for label, place in zip(labels, places) if label is not None]
        assert len(shown) == 23  # the others have no text
        hidden += sum(overlap(a, b) for i, a in enumerate(shown) for b in shown[:i])
        whole += sum(overlap(a, a) for a in shown)
    assert hidden < 0.01 * whole


def test_where_a_label_goes_at_the_borders() -> None:
    size, canvas = (60, 20), (200, 100)
    boxes = np.array([[50, 5, 150, 60], [170, 40, 200, 90], [0, 0, 200, 100]], dtype=float)
    below, left_of_border, within = (place_labels(b[None], [size], canvas)[0] for b in boxes)
    assert below.tolist() == [50, 60, 110, 80]
    assert left_of_border.tolist() == [140, 20, 200, 40]
    assert within.tolist() == [0, 0, 60, 20]


def test_letters_grow_with_the_image() -> None:
    heights = {size: Style().font_pixels(size, 1) for size in ((64, 64), (640, 480), (4000, 3000))}
    assert heights == {(64, 64): 11, (640, 480): 14, (4000, 3000): 87}
    assert Style().font_pixels((4000, 3000), 100) == 61
    assert Style(font_size=33).font_pixels((64, 64), 100) == 33
    lines = [Style().line_pixels(size) for size in ((64, 64), (640, 480), (4000, 3000))]
    assert lines == [1, 2, 12]


def test_long_names_are_broken_and_shortened() -> None:
    chain = FontChain()
    text = 'a photo of a very large brown horse 0.41'
    lines = break_line(text, chain, 12, 120)
    assert len(lines) == 3 and all(chain.width(line, 12) <= 120 for line in lines)
    assert ' '.join(lines) == text
    shortened = break_line(text, chain, 12, 60)
    assert len(shortened) == 3 and all(chain.width(line, 12) <= 60 for line in shortened)
    assert shortened[0] == 'a photo' and shortened[1].endswith('…') and '0.41' in shortened[2]
    pieces = break_line('Donaudampfschifffahrtsgesellschaft', chain, 12, 100)
    assert ''.join(pieces) == 'Donaudampfschifffahrtsgesellschaft' and len(pieces) > 1
    assert break_line(' two\n\twords ', chain, 12, 100) == ['two words']
    assert break_line('  ', chain, 12, 100) == [] == break_line('wide', chain, 12, 3)


def test_rows_beyond_the_image_are_left_out() -> None:
    rows = [Row(f'name {i}', RED) for i in range(9)]
    label = layout_label(rows, FontChain(), 12, 200, 50)
    assert [row.text for row in label.rows] == ['name 0', 'name 1']
    assert 50 - label.row_height < label.height <= 50
    assert layout_label(rows, FontChain(), 12, 200, 5) is None
    assert layout_label([Row('', RED)], FontChain(), 12, 200, 50) is None


def drawn(text: str, chain: FontChain) -> np.ndarray:
    canvas = Image.new('L', (200, 40))
    x = 5.0
    for piece, font in chain.runs(text, 20):
        ImageDraw.Draw(canvas).text((x, 28), piece, fill=255, font=font, anchor='ls')
        x += font.getlength(piece)
    return np.asarray(canvas)


# What the documentation says of DejaVu Sans; the machine's fonts are out of sight here.
@pytest.mark.parametrize('text', ['зонт', 'ομπρέλα', 'مظلة', 'מטריה', 'ქოლგა', 'ô đỏ ł'])
def test_scripts_that_need_no_installed_font(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, '_installed', lambda: ())
    fonts._installed_font.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        pixels = drawn(text, FontChain())
    assert pixels.any()
    fonts._installed_font.cache_clear()


def test_a_script_without_a_font_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, '_installed', lambda: ())
    monkeypatch.setattr(fonts, '_warned', set())
    fonts._installed_font.cache_clear()
    with pytest.warns(UserWarning, match=r"has '红' \(U\+7EA2, cjk\).* boxes.*Noto") as caught:
        pixels = drawn('红色 umbrella', FontChain())
    assert len(caught) == 1 and pixels.any()
    fonts._installed_font.cache_clear()


def test_an_installed_font_is_found_for_other_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A font with fewer letters comes first; the next one has the rest."""
    own = fonts._own_fonts()[0]
    monkeypatch.setattr(fonts, '_own_fonts', lambda: ('few',))
    monkeypatch.setattr(fonts, '_installed', lambda: ('broken', own))
    letters = {'few': frozenset(map(ord, 'abc 12')), own: frozenset(map(ord, 'зонт'))}
    monkeypatch.setattr(fonts, '_characters', lambda path: letters.get(path, frozenset()))
    monkeypatch.setattr(fonts, 'load_font', lambda path, size: path)
    fonts._installed_font.cache_clear()
    assert FontChain().runs('ab зонт 12', 10) == [('ab ', 'few'), ('зонт ', own), ('12', 'few')]
    fonts._installed_font.cache_clear()


def test_own_font_comes_first_and_must_be_one(tmp_path: Path) -> None:
    own = Path(fonts._own_fonts()[0])
    serif = own.with_name('DejaVuSerif.ttf')
    assert FontChain(serif).paths == [str(serif), str(own)]
    assert (drawn('name', FontChain(serif)) != drawn('name', FontChain())).any()
    with pytest.raises(FileNotFoundError, match='there is no file'):
        FontChain(tmp_path / 'absent.ttf')
    (tmp_path / 'text.ttf').write_text('no font')
    with pytest.raises(ValueError, match='text.ttf is no font'):
        FontChain([serif, tmp_path / 'text.ttf'])


def test_without_matplotlib_latin_letters_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, '_own_fonts', lambda: ())
    monkeypatch.setattr(fonts, '_installed', lambda: ())
    fonts._installed_font.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert drawn('name 0.5', FontChain()).any()
    fonts._installed_font.cache_clear()
