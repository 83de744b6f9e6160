# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The report's text, tables and visualizations."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.quickstart.drawing import draw_boxes, smooth
from examples.quickstart.images import best_per_place
from examples.quickstart.report import HEADER, mean_over_seeds, render, result_rows, write_report
from examples.quickstart.workspace import MARKER, Workspace


def _table(clip: float, regionclip: float) -> dict:
    cell = dict(clip=[clip, 1.0], regionclip=[regionclip, 1.0], difference=[regionclip - clip, 0.5])
    return {split: cell for split in ('novel', 'base', 'all')}


def test_report_in_both_formats(tmp_path: Path) -> None:
    image = tmp_path / 'other' / 'p.png'
    image.parent.mkdir()
    kinds = ('zero_shot', 'transfer', 'pseudo_labels', 'curves', 'real_size')
    Image.new('RGB', (2, 2)).save(image)
    rows = [['**a** <tag>', 'novel', '1', '2', '3']]
    content = dict(
        edition='smoke', header=HEADER, seeds=[rows], tables=rows, cards=[('what', '1 → 2', 'x')],
        teacher=dict(novel=12.34, base=5.0), steps=[['1. World', 'a `b`', '0:01']],
        real_size=dict(input_size=(8, 9), proposals=10, threads=2), parts=[['x', '1', '2']],
        images=dict.fromkeys(kinds, image),
    )  # fmt: skip
    markdown = render(content, 'markdown', tmp_path / 'report')
    assert markdown.startswith('# CLIP becomes RegionCLIP, in a world of colored shapes\n\n**This')
    assert '\n\n- what: **1 → 2** (x)\n\n## What was measured\n\nPercent, on' in markdown
    assert '\n\n|  | classes |' in markdown
    assert '|\n| :-- | :-- | --: | --: | --: |\n| **a** <tag>' in markdown
    assert 'correctly: novel 12.3 %, base 5.0 %. CLIP' in markdown
    assert markdown.count('](../other/p.png)\n\n*') == 5 and '\n\n\n' not in markdown
    assert markdown.endswith('several seeds.\n') and '9 × 8 pixels, 10 proposals' in markdown
    page = render(content, 'html', tmp_path / 'report')
    assert '<td class=text><strong>a</strong> &lt;tag&gt;</td>' in page
    assert '<td class=text>a <code>b</code></td><td>0:01</td>' in page
    assert page.count('data:image/png;base64,') == 5 and page.rstrip().endswith('</html>')
    # self-contained: nothing is fetched
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_result_rows_show_differences_with_sign() -> None:
    rows = result_rows({('transfer', 'ap50'): _table(10.0, 12.5)})
    assert len(rows) == 3 and all(len(row) == len(HEADER) for row in rows)
    assert rows[0][1:] == ['novel', '10.0 ± 1.0', '12.5 ± 1.0', '**+2.5 ± 0.5**']
    assert rows[1][0] == ''
    worse = result_rows({('transfer', 'ap50'): _table(10.0, 9.0)})
    assert worse[0][-1] == '**-1.0 ± 0.5**'


def test_mean_over_seeds_has_the_error_of_the_mean() -> None:
    key = ('transfer', 'ap50')
    merged = mean_over_seeds([{key: _table(10.0, v)} for v in (11.0, 12.0, 16.0)])[key]
    assert merged['novel']['difference'] == [
        pytest.approx(3.0), pytest.approx(np.std([1, 2, 6], ddof=1) / 3**0.5)
    ]  # fmt: skip
    assert merged['all']['clip'] == [10.0, 0.0]


def test_report_of_an_unfinished_run_leaves_out_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / 'transfer'
    folder.mkdir()
    marker = dict(key='k', seconds=61, settings={}, result=dict(ap50=_table(14.0, 31.0)))
    (folder / MARKER).write_text(json.dumps(marker))
    markdown, page = write_report(Workspace(tmp_path), [''], 'demo')
    text = markdown.read_text(encoding='utf-8')
    assert 'Novel AP50 after transfer: **14.0 → 31.0** (difference +17.0 ± 0.5)' in text
    assert 'Zero-shot, annotated boxes' not in text
    assert '1:01' in text and 'real size' not in text
    assert page.read_text(encoding='utf-8').startswith('<!doctype html>')


def test_boxes_are_drawn_where_they_are() -> None:
    image = Image.new('RGB', (20, 20), 'black')
    drawn = draw_boxes(image, [(5, 5, 15, 15)], [''], ['#ff0000'], scale=4)
    pixels = np.asarray(drawn).astype(int)
    assert drawn.size == (80, 80)
    assert (pixels[10, 10] == 0).all() and (pixels[40, 40] == 0).all()
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 60)
    rows, columns = np.nonzero(red)
    assert {rows.min(), columns.min()} <= {20, 21, 22}
    assert {rows.max(), columns.max()} <= {58, 59, 60}


def test_labels_stay_inside_and_thin_boxes_are_no_error() -> None:
    image = Image.new('RGB', (40, 40), 'black')
    boxes = [(0, 0, 40, 40), (38, 0, 40, 1), (10, 10, 10, 10)]
    drawn = draw_boxes(image, boxes, ['a long label'] * 3, ['#2a8a4a'] * 3, scale=4)
    assert drawn.size == (160, 160)


def test_smoothing_keeps_length_and_constants() -> None:
    assert smooth([2.0] * 7, 3) == pytest.approx([2.0] * 7)
    assert smooth([0, 3, 0], 3) == pytest.approx([1.5, 1.0, 1.5])
    assert len(smooth([1.0], 5)) == 1


def test_best_per_place_keeps_the_best_of_overlapping() -> None:
    found = [
        dict(bbox=[0, 0, 10, 10], score=0.5, category_id=1),
        dict(bbox=[1, 0, 10, 10], score=0.9, category_id=2),
        dict(bbox=[30, 0, 10, 10], score=0.6, category_id=3),
        dict(bbox=[60, 0, 10, 10], score=0.1, category_id=4),
    ]
    assert [d['category_id'] for d in best_per_place(found)] == [2, 3]
