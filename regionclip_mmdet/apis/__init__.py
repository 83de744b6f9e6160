# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Using a trained model: own images, own words."""

from .encoded_image import EncodedImage
from .encoding import encode_images
from .inferencer import RegionCLIPInferencer
from .loaded_detector import LoadedDetector
from .querying import query_image
from .region_features import RegionEmbeddings, encode_regions
from .vocabulary import parse_vocabulary

__all__ = [
    'EncodedImage',
    'LoadedDetector',
    'RegionCLIPInferencer',
    'RegionEmbeddings',
    'encode_images',
    'encode_regions',
    'parse_vocabulary',
    'query_image',
]
