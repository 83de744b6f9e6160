# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Scenes in shards and their proposals, made before pretraining begins.

What ``tools/data/pack_shards.py`` and ``tools/pretrain/precompute_proposals.py`` do.
"""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device

from regionclip_mmdet.datasets import ImageTextDataset
from regionclip_mmdet.datasets.preparation import pack_shards
from regionclip_mmdet.pretraining import (
    ProposalMaker,
    ProposalsReport,
    fixed_view,
    from_config,
    precompute_proposals,
)


def pack_scenes(scenes: Path, out: Path, per_shard: int) -> None:
    """Pack captioned scenes into tar shards.

    Args:
        scenes: Folder with ``captions.json`` and ``images``.
        out: Folder for the shards, new or empty.
        per_shard: Pairs in each.
    """
    items = ImageTextDataset(
        str(scenes / 'captions.json'), data_prefix=dict(img_path=str(scenes / 'images'))
    )
    pack_shards(items, out, per_shard, seed=0, progress=False)


def propose_regions(cfg: Config) -> ProposalsReport:
    """Run the localizer over all images that a config trains on, at the size of training.

    Args:
        cfg: Its dataset names the folder of the proposals, its ``localizer`` the network.
    """
    pipeline = fixed_view(from_config.dataset_config(cfg).pipeline)
    maker = ProposalMaker(from_config.localizer_config(cfg), cfg.model.data_preprocessor)
    maker.ensure_weights()
    dataset = from_config.build_dataset(cfg, pipeline)
    folder = from_config.proposals_folder(cfg, dataset)
    maker.to(get_device())
    return precompute_proposals(dataset, maker, pipeline, folder, batch_size=16, progress=False)
