# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The version, readable without importing any dependency."""

__version__ = '0.1.0'
