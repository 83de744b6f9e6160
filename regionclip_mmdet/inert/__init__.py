# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pickles by what they say: nothing that they name is looked up, nothing is called."""

from .notes import Kept, Made, Named, check_bounded, nodes
from .pickles import read

__all__ = ['Kept', 'Made', 'Named', 'check_bounded', 'nodes', 'read']
