# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From captions to a concept pool: the nouns they name, counted. Knows no detector."""

from .backends import BACKENDS, make_backend
from .captions import CaptionFiles
from .counting import ConceptCounts, count_concepts
from .nouns import KINDS, Noun, NounBackend, concepts_of
from .pool_file import PoolOverlap, compare_pools, read_pool, split_count, write_pool

__all__ = [
    'BACKENDS',
    'KINDS',
    'CaptionFiles',
    'ConceptCounts',
    'Noun',
    'NounBackend',
    'PoolOverlap',
    'compare_pools',
    'concepts_of',
    'count_concepts',
    'make_backend',
    'read_pool',
    'split_count',
    'write_pool',
]
