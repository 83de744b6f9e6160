# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RegionCLIP end to end in a world of colored shapes, on a CPU, by one command."""

from .console import ConsoleProgressHook

__all__ = ['ConsoleProgressHook']
