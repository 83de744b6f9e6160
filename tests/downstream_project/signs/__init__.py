# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A project of its own: importing it registers its dataset."""

from .dataset import SignDataset

__all__ = ['SignDataset']
