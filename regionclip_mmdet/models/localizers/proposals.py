# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Where the regions of a batch come from."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn


def get_proposals(
    localizer: nn.Module | None, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]
) -> list[InstanceData]:
    """Proposals of a batch: those the samples carry, else the localizer's.

    Ground-truth, random, grid and precomputed boxes are dataset transforms that fill
    ``data_sample.proposals``; only a network that proposes is a module.

    Args:
        localizer: Called when samples carry no proposals.
        batch_inputs: ``(B, 3, H, W)``.
        batch_data_samples: ``B`` samples, all with or all without ``proposals``.

    Returns:
        Per image an ``InstanceData`` with ``bboxes (N, 4)`` in input pixels and, where known,
        ``scores`` and ``objectness_logits (N,)``. A copy: samples are not changed by its users.

    Raises:
        ValueError: No proposals and no localizer, or only some samples have proposals.
    """
    given = ['proposals' in sample for sample in batch_data_samples]
    if all(given):
        return [sample.proposals.clone() for sample in batch_data_samples]
    if any(given):
        raise ValueError('Some samples of the batch carry proposals and others do not.')
    if localizer is None:
        raise ValueError(
            'The samples carry no proposals and the model has no localizer. Give the model a '
            'localizer, or add a transform that fills proposals (e.g. ProposalsFromGT) and pack '
            "them with PackDetInputs' proposals support."
        )
    return localizer(batch_inputs, [sample.metainfo for sample in batch_data_samples])
