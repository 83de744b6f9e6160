# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Which regions are kept of an image, and in which form."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SOURCES = ('localizer', 'detections', 'given')
NMS_MODES = ('none', 'class-agnostic', 'class-wise')
DTYPES = ('float16', 'float32')


@dataclass(frozen=True)
class RegionSettings:
    """Settings of ``RegionMaker``.

    Attributes:
        source: ``'localizer'``: its proposals. ``'detections'``: the model's detections; embedded
            is the proposal that a detection came from, as in the official code, not the refined
            box. ``'given'``: boxes that are handed over.
        max_regions: Keep the best so many of an image; None: all that the config gives.
        score_thr: Keep those with a larger score. Of detections None means the config's
            threshold, otherwise none.
        nms: ``'none'``, ``'class-agnostic'``: of boxes that overlap only the best is kept, whatever
            it shows, so a region occurs once, or ``'class-wise'``, of detections alone: the
            config's NMS, after which a region can occur under several names. None: class-wise for
            detections, else none.
        nms_iou: Threshold of the class-agnostic NMS.
        dtype: Of the embeddings in files.
        top: So many names are kept of a region, where there is a vocabulary to name it with.
    """

    source: str = 'localizer'
    max_regions: int | None = None
    score_thr: float | None = None
    nms: str | None = None
    nms_iou: float = 0.5
    dtype: str = 'float16'
    top: int = 5

    def __post_init__(self) -> None:
        """Settles ``nms``.

        Raises:
            ValueError: A setting that there is not, or that does not fit the source.
        """
        for key, value, known in (
            ('source', self.source, SOURCES),
            ('nms', self.nms, (*NMS_MODES, None)),
            ('dtype', self.dtype, DTYPES),
        ):
            if value not in known:
                raise ValueError(f'{key} must be one of {known}, not {value!r}.')
        detections = self.source == 'detections'
        if self.nms is None:
            object.__setattr__(self, 'nms', 'class-wise' if detections else 'none')
        if self.nms == 'class-wise' and not detections:
            raise ValueError(
                'Class-wise NMS is that of detections. Boxes of other sources have no classes: '
                "take 'class-agnostic' or 'none'."
            )
        if self.nms == 'none' and detections:
            raise ValueError(
                "Detections come with NMS: take 'class-wise' (the config's) or 'class-agnostic'."
            )
        if self.max_regions is not None and self.max_regions < 1:
            raise ValueError(f'max_regions must be positive, not {self.max_regions}.')
        if not 0 < self.nms_iou <= 1:
            raise ValueError(f'nms_iou must lie in (0, 1], not {self.nms_iou}.')
        if self.top < 0:
            raise ValueError(f'top must not be negative: {self.top}.')

    @property
    def needs_scores(self) -> bool:
        """Whether boxes are compared by their scores."""
        return self.nms == 'class-agnostic' or self.score_thr is not None

    def describe(self) -> dict[str, Any]:
        """All settings, JSON."""
        return asdict(self)
