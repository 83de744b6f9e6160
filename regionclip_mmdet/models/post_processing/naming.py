# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Every prediction carries its names: a label alone is a number of some vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.structures import InstanceData


def add_label_names(results: InstanceData, names: Sequence[str]) -> InstanceData:
    """Set ``label_names``, as mmdet's GLIP and Grounding DINO do.

    A plain list of the vocabulary's own strings: pickled files need nothing of this package, and
    an entry costs a reference however large the vocabulary is. ``InstanceData`` cuts and joins
    lists like tensors.

    Args:
        results: With ``labels (M,)`` into ``names``; is changed.
        names: The vocabulary.

    Returns:
        The same results.
    """
    results.label_names = [names[label] for label in results.labels.tolist()]
    return results
