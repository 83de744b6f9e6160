# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A teacher's embeddings that come with the samples instead of from the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor


def stored_embeddings(
    regions: Sequence[InstanceData], batch_data_samples: Sequence[DetDataSample], width: int
) -> Tensor:
    """Embeddings ``(R, D)`` of the regions of a batch, float32.

    Args:
        regions: Of each image, with ``teacher_embeddings`` ``(N, D)``.
        batch_data_samples: For messages.
        width: ``D`` of the teacher's concept pool.

    Raises:
        ValueError: A sample carries none, or of another width.
    """
    for part, sample in zip(regions, batch_data_samples, strict=True):
        name = sample.metainfo.get('img_path', 'a sample')
        if 'teacher_embeddings' not in part:
            raise ValueError(
                f'stored_teacher=True, but the proposals of {name} carry no teacher_embeddings. '
                'Make them with tools/pretrain/precompute_proposals.py CONFIG --teacher, set '
                'teacher_embeddings=True of the dataset, and end its pipeline with '
                'PackRegionInputs; or give the model a teacher.'
            )
        found = part.teacher_embeddings
        if found.ndim != 2 or found.shape[1] != width:
            raise ValueError(
                f'The teacher_embeddings of {name} have shape {tuple(found.shape)}, but the '
                f"teacher's concept pool has width {width}: embed the concepts with the text "
                'encoder of the teacher that made them (teacher_concept_pool).'
            )
    return torch.cat([part.teacher_embeddings.float() for part in regions])
