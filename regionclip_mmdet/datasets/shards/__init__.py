# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Image-text pairs in tar shards and TSV files; docs/data.md says why it is no stream.

Other packages import from here alone; the modules are private to the package.
"""

from .captions import is_unicode, read_captions
from .exclusions import exclusion_line
from .image_text_shards import ImageTextShards, ImageTextTSV, PairsInShards
from .parallel_indices import keep_indices, upload_indices
from .paths import find_shards
from .proposal_format import (
    check_names,
    differences,
    keys_of,
    lengths_of,
    pairs_hash,
    proposals_path,
    read_meta,
    rows_of_pairs,
    save_whole,
    teacher_path,
    write_proposals,
    write_teacher,
)
from .shard_files import ShardFiles
from .shard_index import ShardIndex
from .shard_sampler import ShardSampler
from .stored_proposals import StoredProposals

__all__ = [
    'ImageTextShards',
    'ImageTextTSV',
    'PairsInShards',
    'ShardFiles',
    'ShardIndex',
    'ShardSampler',
    'StoredProposals',
    'check_names',
    'differences',
    'exclusion_line',
    'find_shards',
    'is_unicode',
    'keep_indices',
    'keys_of',
    'lengths_of',
    'pairs_hash',
    'proposals_path',
    'read_captions',
    'read_meta',
    'rows_of_pairs',
    'save_whole',
    'teacher_path',
    'upload_indices',
    'write_proposals',
    'write_teacher',
]
