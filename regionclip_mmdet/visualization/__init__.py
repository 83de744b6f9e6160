# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pictures of what the models see: detections, named regions, proposals, pseudo labels."""

from .canvas import Mark, Style, draw_marks
from .colors import contrast_ratio, name_color, text_color
from .contact_sheet import Caption, contact_sheet, make_tile
from .distinct_colors import picture_colors
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
    'picture_colors',
    'side_by_side',
    'text_color',
    'text_strip',
]
