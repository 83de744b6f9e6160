# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Tiles and sheets of tiles."""

import numpy as np

from regionclip_mmdet.visualization import Caption, contact_sheet, make_tile

RED = np.full((40, 80, 3), (200, 0, 0), dtype=np.uint8)


def test_tiles_lie_in_rows() -> None:
    tile = make_tile(RED, side=40)
    sheet = contact_sheet([tile] * 5, columns=3, gap=10)
    assert sheet.shape == (2 * 50 + 10, 3 * 50 + 10, 3)
    red = (sheet == (200, 0, 0)).all(-1)
    # 20 of 40 rows of a tile are the image's, in the middle
    assert np.flatnonzero(red[:, 10]).tolist() == [*range(20, 40), *range(70, 90)]
    assert red[20].sum() == 3 * 40 and red[70].sum() == 2 * 40
    titled = contact_sheet([tile] * 5, columns=3, gap=10, title='a name')
    assert titled.shape[1] == sheet.shape[1] and len(titled) > len(sheet)
    assert np.array_equal(titled[-100:], sheet[-100:])


def test_captions_lie_below() -> None:
    one = make_tile(RED, [Caption('short', '#0000ff')], side=90)
    assert one.shape[1] == 90 and 100 < len(one) < 130
    assert (one[90:] == (0, 0, 255)).all(-1).any()
    long = make_tile(RED, [Caption('several words ' * 9, max_lines=3)], side=90)
    assert len(long) > len(one) + 20


def test_the_error_is_shown_in_place_of_a_broken_image() -> None:
    tile = make_tile(OSError('truncated'), side=120)
    frame = (tile == (190, 0, 0)).all(-1)
    assert frame[0].all() and frame[-1].all() and frame[:, 0].all() and frame[5:40, 3:90].any()
