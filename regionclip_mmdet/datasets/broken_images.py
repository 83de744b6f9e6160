# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What a dataset does about images that turn out to be damaged in the middle of a run."""

from __future__ import annotations

import logging
from typing import Any

import cv2
import torch
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch.utils.data import get_worker_info

# One place for each worker and one for the main process, so that none waits for another.
_PLACES = 257


class SharedCounter:
    """A number that a process and its data loader's workers add to and all of them see.

    A copy counts on its own from where the original was. Loaders of one dataset that work at the
    same time may lose a count where their workers have the same number.
    """

    def __init__(self) -> None:
        self._counts = torch.zeros(_PLACES, dtype=torch.int64).share_memory_()

    def add(self) -> None:
        """Add one."""
        worker = get_worker_info()
        self._counts[0 if worker is None else 1 + worker.id % (_PLACES - 1)] += 1

    @property
    def total(self) -> int:
        """What all processes have added."""
        return int(self._counts.sum())


MAX_LOGGED = 10
MAX_IN_A_ROW = 100
# A share of fewer samples says little.
MIN_SEEN = 100


def is_broken_image(error: Exception) -> bool:
    """Whether an error of a pipeline says that an image is missing or cannot be decoded.

    ``BrokenImageError`` and Pillow's errors are ``OSError``; mmcv asserts, OpenCV has its own.
    """
    if isinstance(error, AssertionError):
        return str(error).startswith('failed to load image')
    return isinstance(error, (OSError, cv2.error))


class BrokenImagePolicy:
    """A dataset that names its broken images and, if told so, trains without them.

    Mix in before mmdet's or mmengine's dataset class. By default any error of the pipeline ends
    the run and names the image and its place in the annotation file.

    Args:
        skip_broken: In training, draw another image instead of one that is missing or damaged.
            The first ten are logged with their names; ``num_broken`` counts them, those of the data
            loader's workers included. Does not apply with ``test_mode``: leaving images out would
            falsify results. After 100 in a row the run ends nevertheless. The other image
            (any, or of shards one nearby) comes once more often in that pass; its data sample says
            so in its metainfo: ``instead_of`` is the ``img_id`` of the broken one.
        max_broken_share: The run also ends if a larger share of the samples asked for was broken,
            or of 100 if fewer were. 1 never ends it. Shards: see ``ReplacementsNearby``.
        *args: For the dataset class.
        **kwargs: For the dataset class.
    """

    def __init__(
        self, *args: Any, skip_broken: bool = False, max_broken_share: float = 1.0, **kwargs: Any
    ) -> None:
        self.skip_broken = skip_broken
        self.max_broken_share = max_broken_share
        self._broken = SharedCounter()
        self._tried = SharedCounter()
        self._in_a_row = 0
        self._replaced: Any = None
        super().__init__(*args, **kwargs)

    @property
    def num_broken(self) -> int:
        """Samples replaced so far, by this process and its data loader's workers."""
        return self._broken.total

    @property
    def num_tried(self) -> int:
        """Samples asked for so far, replaced ones included."""
        return self._tried.total

    def prepare_data(self, idx: int) -> Any:
        """A sample; ``None``, for which mmengine draws another one, if it is skipped."""
        if not self._in_a_row:  # else it comes in place of a broken one
            self._tried.add()
        try:
            data = super().prepare_data(idx)
        except Exception as error:
            return self._on_error(idx, error)
        if self._in_a_row:
            sample = data.get('data_samples') if isinstance(data, dict) else None
            if isinstance(sample, BaseDataElement):
                sample.set_metainfo(dict(instead_of=self._replaced))
        self._in_a_row = 0
        return data

    def _on_error(self, idx: int, error: Exception) -> None:
        if hasattr(self, 'image_name'):  # datasets whose get_data_info may itself fail
            path = self.image_name(idx)
        else:
            path = self.get_data_info(idx).get('img_path')
        broken = is_broken_image(error)
        if broken and self.skip_broken and not self.test_mode:
            if not self._in_a_row:
                self._broken.add()
                self._replaced = self._id_of(idx, path)
                self._log(path, error)
            self._in_a_row += 1
            if self._in_a_row < MAX_IN_A_ROW:
                self._check_share(path, error)
                return
            raise OSError(
                f'{self.ann_file}: {MAX_IN_A_ROW} images in a row are missing or damaged, the last '
                f'one {path}. Check data_root and data_prefix.'
            ) from error
        if str(path) in str(error):
            raise error
        text = f'{type(error).__name__}: {error}'
        raise (OSError if broken else RuntimeError)(
            f'{self.ann_file}, item {idx}: image {path}: {text}'
        ) from error

    def _id_of(self, idx: int, path: str) -> Any:
        try:
            return self.get_data_info(idx).get('img_id', path)
        except OSError:  # its caption cannot be read either
            return path

    def _check_share(self, path: str, error: Exception) -> None:
        judged = max(self.num_tried, self._fewest_for_share())
        if self.num_broken <= self.max_broken_share * judged:
            return
        raise OSError(
            f'{self.ann_file}: {self.num_broken} of {self.num_tried} samples asked for are missing '
            f'or damaged, more than max_broken_share={self.max_broken_share}; the last one {path}. '
            'Get the data again, or raise it.'
        ) from error

    def _fewest_for_share(self) -> int:
        """Samples of which a share says something."""
        return MIN_SEEN

    def _log(self, path: str, error: Exception) -> None:
        if self.num_broken > MAX_LOGGED:
            return
        last = ' Further ones are counted, not logged.' if self.num_broken == MAX_LOGGED else ''
        print_log(
            f'{self.ann_file}: skipped broken image {self.num_broken}, {path} '
            f'({type(error).__name__}: {error}).{last}',
            logger='current',
            level=logging.WARNING,
        )
