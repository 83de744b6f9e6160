# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Using a trained model: own images, own words."""

from ..models.encoded_image import EncodedImage
from .encoding import RegionEmbeddings, encode_images, encode_regions
from .inferencer import RegionCLIPInferencer
from .loaded_detector import LoadedDetector
from .querying import query_image
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
