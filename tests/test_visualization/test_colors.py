# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Colors of names, and black or white text on them."""

from __future__ import annotations

import colorsys
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from regionclip_mmdet.visualization import contrast_ratio, name_color, text_color
from regionclip_mmdet.visualization.colors import parse_color, scale_colors

NAMES = ['cat', 'red umbrella', '红色雨伞', 'зонтик', 'مظلة', '', '#12']
SAY_COLORS = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location('colors', sys.argv[1])
colors = importlib.util.module_from_spec(spec)
spec.loader.exec_module(colors)
print(json.dumps([colors.name_color(name) for name in json.loads(sys.argv[2])]))
"""


def test_same_color_in_another_process() -> None:
    """With another seed of Python's ``hash``; the module alone, which loads in no time."""
    file = sys.modules[name_color.__module__].__file__
    for seed in ('1', '2'):
        said = subprocess.run(
            [sys.executable, '-c', SAY_COLORS, file, json.dumps(NAMES[::-1])],
            env=dict(os.environ, PYTHONHASHSEED=seed),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert [tuple(c) for c in json.loads(said)] == [name_color(n) for n in NAMES[::-1]]


def test_colors_of_some_names_are_what_they_were() -> None:
    # recorded: a change would give old and new images of a project other colors
    assert [name_color(n) for n in ('cat', 'dog', '红色雨伞')] == [
        (37, 208, 190),
        (214, 82, 224),
        (179, 19, 5),
    ]


def test_a_name_in_two_unicode_forms_has_one_color() -> None:
    assert name_color('caf\u00e9') == name_color('cafe\u0301') != name_color('cafe')


def test_hues_are_spread() -> None:
    names = [f'name {i}' for i in range(1203)]
    hues = [colorsys.rgb_to_hls(*(np.array(name_color(n)) / 255))[0] for n in names]
    counts = np.histogram(hues, bins=12, range=(0, 1))[0]
    # about 100 in each of twelve equal parts; four standard deviations of a fair draw
    assert np.abs(counts - len(names) / 12).max() < 4 * np.sqrt(len(names) / 12)
    assert len({name_color(n) for n in names}) > 1000


def reference_contrast(one: tuple, other: tuple) -> float:
    """WCAG 2.1 written out, channel by channel."""

    def luminance(color: tuple) -> float:
        total = 0.0
        for value, weight in zip(color, (0.2126, 0.7152, 0.0722)):
            share = value / 255
            linear = share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
            total += weight * linear
        return total

    brighter, darker = max(map(luminance, (one, other))), min(map(luminance, (one, other)))
    return (brighter + 0.05) / (darker + 0.05)


def test_text_stands_out_on_every_color() -> None:
    assert contrast_ratio((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    # a value of WebAIM's table: #777777 on white
    assert contrast_ratio((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)
    steps = range(0, 256, 15)
    grid = [(r, g, b) for r in steps for g in steps for b in steps]
    for color in grid + [name_color(name) for name in NAMES]:
        assert reference_contrast(text_color(color), color) >= 4.5


def test_scale_runs_from_blue_to_red() -> None:
    blue, middle, red = scale_colors([-3.0, 1.0, 5.0])
    assert blue[2] > 200 > blue[0] and red[0] > 200 > red[2]
    assert middle[1] > max(middle[0], middle[2])
    assert scale_colors([2.0, 2.0]) == [red, red] and scale_colors([]) == []


def test_colors_given_in_words() -> None:
    assert parse_color('#2a8a4a') == (42, 138, 74) and parse_color((1, 2, 3)) == (1, 2, 3)
    with pytest.raises(ValueError, match='three numbers 0..255, not'):
        parse_color((1, 2, 300))
    with pytest.raises(ValueError, match='unknown color'):
        parse_color('no color')
