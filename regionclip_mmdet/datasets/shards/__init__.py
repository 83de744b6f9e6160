# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Image-text pairs in tar shards and TSV files."""

from .image_text_shards import ImageTextShards, ImageTextTSV
from .shard_sampler import ShardSampler

__all__ = ['ImageTextShards', 'ImageTextTSV', 'ShardSampler']
