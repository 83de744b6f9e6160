# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Visualizations of detections, classified regions, proposals and pseudo labels."""

from ..renames import old_names
from .canvas import Mark, Style, draw_marks
from .colors import assign_colors, contrast_ratio, name_color, text_color
from .contact_sheet import Caption, contact_sheet, make_tile
from .labels import Row
from .open_vocab_visualizer import OpenVocabVisualizer
from .regions import NamedRegion, group_regions
from .views import (
    draw_detections,
    draw_proposals,
    draw_pseudo_labels,
    draw_regions,
    side_by_side,
    text_strip,
)

__all__ = [
    'Caption',
    'Mark',
    'NamedRegion',
    'OpenVocabVisualizer',
    'Row',
    'Style',
    'assign_colors',
    'contact_sheet',
    'contrast_ratio',
    'draw_detections',
    'draw_marks',
    'draw_proposals',
    'draw_pseudo_labels',
    'draw_regions',
    'group_regions',
    'make_tile',
    'name_color',
    'side_by_side',
    'text_color',
    'text_strip',
]

__getattr__ = old_names(__name__, dict(picture_colors=f'{__name__}.assign_colors'))
