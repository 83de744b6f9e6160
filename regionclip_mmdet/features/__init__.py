# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region features of many images: made, stored, read, searched."""

from .extraction import ExtractionReport, extract_region_features
from .given_boxes import CocoBoxes, GivenBoxes, GridBoxes
from .hit_sheet import draw_hits
from .images import ImageEntry, ImageList, list_images
from .reader import RegionFeatures, iter_region_features, read_region_features
from .region_maker import RegionMaker
from .regions import ImageRegions, RegionSettings
from .search import Hit, as_table, search_folder, search_regions, stored_vocabulary

__all__ = [
    'CocoBoxes',
    'ExtractionReport',
    'GivenBoxes',
    'GridBoxes',
    'Hit',
    'ImageEntry',
    'ImageList',
    'ImageRegions',
    'RegionFeatures',
    'RegionMaker',
    'RegionSettings',
    'as_table',
    'draw_hits',
    'extract_region_features',
    'iter_region_features',
    'list_images',
    'read_region_features',
    'search_folder',
    'search_regions',
    'stored_vocabulary',
]
