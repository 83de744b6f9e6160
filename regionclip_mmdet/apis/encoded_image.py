# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The class lives with the models."""

from ..models.encoded_image import EncodedImage

__all__ = ['EncodedImage']
