# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images of rare classes come up more often, by factors that need not be whole numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sized

import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler
from torch import Tensor


def repeat_factors(dataset: Sized, threshold: float) -> Tensor:
    """How often each image should come up in a pass (Gupta et al., LVIS, CVPR 2019).

    A class found in a share ``f`` of the images has the factor ``max(1, sqrt(threshold / f))``, an
    image the largest factor of its classes.

    Args:
        dataset: With ``get_cat_ids(index)``, the labels in an image.
        threshold: Share of images below which a class is rare.

    Returns:
        float64 ``(N,)``, at least 1.
    """
    labels = [set(dataset.get_cat_ids(index)) for index in range(len(dataset))]
    found = Counter(label for image in labels for label in image)
    of_class = {
        label: max(1.0, math.sqrt(threshold * len(labels) / count))
        for label, count in found.items()
    }
    factors = [max((of_class[label] for label in image), default=1.0) for image in labels]
    return torch.tensor(factors, dtype=torch.float64)


@DATA_SAMPLERS.register_module()
class RepeatFactorSampler(DefaultSampler):
    """mmengine's ``DefaultSampler`` over images repeated by their factors.

    An image of factor 1.4 comes up once or twice, on average 1.4 times, as with detectron2's
    sampler; mmdet's ``ClassBalancedDataset`` rounds up, to twice in every pass. The roundings of a
    pass are drawn together (systematic sampling in random order): each has its probability, and
    every pass has the same length, which resuming relies on.

    Args:
        dataset: With ``get_cat_ids(index)``.
        threshold: See ``repeat_factors``.
        shuffle: Whether to shuffle; without, repetitions of an image follow each other.
        seed: The same on all processes; None draws one.
        round_up: As in ``DefaultSampler``.
    """

    def __init__(
        self,
        dataset: Sized,
        threshold: float = 0.001,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        if threshold <= 0:
            raise ValueError(f'threshold must be positive, not {threshold}.')
        self.factors = repeat_factors(dataset, threshold)
        self.length = int(self.factors.sum())
        # DefaultSampler works out the shares of the processes from the length of what it is given
        super().__init__(range(self.length), shuffle, seed, round_up)
        self.dataset = dataset

    def draw(self, generator: torch.Generator) -> Tensor:
        """Indices of one pass, int64 ``(length,)``, in the order of the dataset."""
        order = torch.randperm(len(self.factors), generator=generator)
        # how many whole numbers the running sum passes at each image, from a random start
        start = torch.rand((), dtype=torch.float64, generator=generator)
        passed = (self.factors[order].cumsum(0) + start).floor().long()
        times = torch.diff(passed, prepend=passed.new_zeros(1))
        # one more than the length, where the sum of the factors is not whole: a random one goes
        chosen = order.repeat_interleave(times)[: self.length]
        return chosen.sort()[0]

    def __iter__(self) -> Iterator[int]:
        """Indices of this process for the present epoch."""
        generator = torch.Generator()
        generator.manual_seed(self.seed + self.epoch)
        indices = self.draw(generator)
        if self.shuffle:
            indices = indices[torch.randperm(len(indices), generator=generator)]
        if self.round_up:
            indices = indices.repeat(math.ceil(self.total_size / len(indices)))
        return iter(indices[self.rank : self.total_size : self.world_size].tolist())
