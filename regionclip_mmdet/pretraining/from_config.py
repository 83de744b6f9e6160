# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Parts of a pretraining config that are computed with beforehand."""

from __future__ import annotations

import copy
from typing import Any

from mmdet.registry import DATASETS
from mmengine.config import Config, ConfigDict

from ..datasets.shards import PairsInShards


def dataset_config(cfg: Config) -> ConfigDict:
    """Config of the dataset of pairs in shards that a config trains on.

    Raises:
        ValueError: It trains on none.
    """
    dataset = cfg.get('train_dataloader', {}).get('dataset')
    while dataset is not None and 'dataset' in dataset:  # repeated, or repeated by factors
        dataset = dataset.dataset
    kind = None if dataset is None else DATASETS.get(dataset.type)
    if kind is None or not issubclass(kind, PairsInShards):
        raise ValueError(
            'train_dataloader.dataset must be ImageTextShards or ImageTextTSV, not '
            f'{dataset and dataset.type}. Pack other image-text pairs into shards first: '
            'tools/data/pack_shards.py.'
        )
    return dataset


def build_dataset(cfg: Config, pipeline: list[dict]) -> PairsInShards:
    """That dataset with another pipeline, whole and without proposals; damaged images raise.

    Nothing is excluded: the list may be the one that computing proposals writes.
    """
    changes = dict(
        pipeline=pipeline,
        proposals=None,
        teacher_embeddings=False,
        skip_broken=False,
        exclude=None,
        indices=None,
        lazy_init=False,
    )
    return DATASETS.build({**copy.deepcopy(dataset_config(cfg)), **changes})


def localizer_config(cfg: Config, checkpoint: str | None = None) -> dict[str, Any]:
    """Config of the localizer, the model's or, in configs that train without, ``localizer``.

    Args:
        cfg: The whole config.
        checkpoint: Weights in place of its own.

    Raises:
        ValueError: There is none.
    """
    localizer = cfg.model.get('localizer') or cfg.get('localizer')
    if localizer is None:
        raise ValueError(
            'The config has no localizer, neither model.localizer nor localizer. Inherit one, for '
            'example configs/_base_/localizers/rpn_r50_fpn_pretrain.py.'
        )
    checkpoint = checkpoint or (None if localizer.get('init_cfg') else cfg.get('load_from'))
    if checkpoint is None:
        return dict(localizer)
    return {**localizer, 'init_cfg': dict(type='LocalizerPretrained', checkpoint=checkpoint)}


def teacher_config(cfg: Config) -> dict[str, Any]:
    """Config of the teacher, the model's or, in configs that train without, ``teacher``.

    Raises:
        ValueError: There is none.
    """
    teacher = cfg.model.get('teacher') or cfg.get('teacher')
    if teacher is None:
        raise ValueError('The config has no teacher, neither model.teacher nor teacher.')
    return dict(teacher)


def proposals_folder(cfg: Config, dataset: PairsInShards) -> str:
    """Where the config's dataset looks for proposals.

    Args:
        cfg: The whole config.
        dataset: what ``build_dataset`` returns.

    Raises:
        ValueError: Nowhere.
    """
    folder = dataset_config(cfg).get('proposals')
    if folder is None:
        raise ValueError(
            'The dataset of the config has no folder of proposals: say one with --out.'
        )
    return dataset.below_root(folder)
