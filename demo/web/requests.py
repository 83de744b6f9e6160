# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Requests of the page, or written by hand in its place: any values in, an answer or a message out.

What the page sends is not to be trusted: a request may hold values of any type, other paths, other
numbers. All of it is read here, without gradio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .detections import DetectionService, Query, Report
from .errors import UserError
from .outcomes import answered, blank, safely
from .vocabularies import Preset

NO_PRESET = 'None: only my words'
WAITING = 'Choose an image and some names.'
# Ends of two sliders, and of the overlap's.
MOST_DETECTIONS = 300
MOST_NAMES_LISTED = 20
OVERLAP = (0.1, 1.0)


@dataclass(frozen=True)
class PageSettings:
    """What the page begins with.

    Attributes:
        about: a line of text on the model and what it takes.
        score_thr: initial value of the slider.
        max_score: end of the slider; scores fused with raw logits exceed 1.
        max_per_img: initial value of the slider.
        iou_thr: initial value of the slider, the model's setting; None: no such slider.
        concurrency: Queries under way at a time; they take turns in computing.
        queue_size: Queries that may wait; more are told to come back.
        uploads_kept_s: Seconds after which uploaded files are deleted.
    """

    about: str = ''
    score_thr: float = 0.3
    max_score: float = 1.0
    max_per_img: int = 50
    iou_thr: float | None = 0.5
    concurrency: int = 16
    queue_size: int = 500
    uploads_kept_s: int = 3600

    @property
    def most_detections(self) -> int:
        """Where the slider of detections ends."""
        return max(MOST_DETECTIONS, self.max_per_img)


class RequestReader:
    """Answers requests whatever they hold.

    Args:
        service: Answers.
        presets: Lists of names to choose from.
        settings: settings of the page: numbers stay within its sliders.
        uploads: Folder of uploaded files; no other file is read.
    """

    def __init__(
        self,
        service: DetectionService,
        presets: Sequence[Preset],
        settings: PageSettings,
        uploads: str | Path,
    ) -> None:
        self.service = service
        self.settings = settings
        self.uploads = Path(uploads)
        self._names_of = {NO_PRESET: (), **{preset.title: preset.names for preset in presets}}

    def detect(self, upload: Any, values: Sequence[Any], report: Report | None = None) -> list:
        """Values of the five outputs.

        Args:
            upload: The image, as gradio sends it.
            values: Words, preset, lowest score, most detections, names per region, overlap.
            report: see ``DetectionService.answer``.
        """

        def answer() -> list:
            query = self._query(*values)
            return answered(self.service.answer(self._read(upload), query, report))

        return safely(answer)

    def refresh(
        self, upload: Any, values: Sequence[Any], report: Report | None = None
    ) -> list | None:
        """``detect``, unless there is nothing to detect yet: None."""
        words, preset = values[:2]
        if not upload or (_is_blank(words) and (preset is None or preset == NO_PRESET)):
            return None
        return self.detect(upload, values, report)

    def look(self, upload: Any) -> list:
        """Values of the five outputs when another image is chosen: old results go."""
        if not upload:
            return blank('wait', WAITING)
        return safely(
            lambda: blank('wait', f'{self.service.look(self._read(upload))} Press Detect.')
        )

    def _query(
        self, words: Any, preset: Any, score_thr: Any, most: Any, top_k: Any, iou_thr: Any
    ) -> Query:
        if not isinstance(words, str | None):
            raise UserError('The names are no text. Type them.')
        if not isinstance(preset, str | None) or (preset or NO_PRESET) not in self._names_of:
            raise UserError('There is no such list of names. Choose one that the page offers.')
        settings = self.settings
        overlap = None
        if settings.iou_thr is not None:
            overlap = _number(iou_thr, 'The overlap', *OVERLAP)
        return Query(
            words=words or '',
            preset=self._names_of[preset or NO_PRESET],
            score_thr=_number(score_thr, 'The lowest score', 0, settings.max_score),
            max_per_img=int(_number(most, 'The most detections', 1, settings.most_detections)),
            iou_thr=overlap,
            top_k=int(_number(top_k, 'The number of names listed', 1, MOST_NAMES_LISTED)),
        )

    def _read(self, upload: Any) -> bytes:
        """Bytes of an upload, and of no other file of the server, whatever path is sent."""
        if not upload:
            raise UserError('No image yet. Choose one, or take an example.')
        path = upload.get('path') if isinstance(upload, dict) else None
        if not isinstance(path, str) or not path:
            raise UserError('This is no uploaded image. Choose one, or take an example.')
        gone = UserError('The image is no longer on the server. Upload it again.')
        try:
            file = Path(path).resolve()
            # gradio lets any path through that does not say it is one of its own
            if not file.is_relative_to(self.uploads.resolve()) or not file.is_file():
                raise gone
            with file.open('rb') as opened:  # one byte more than allowed is enough to be refused
                return opened.read(self.service.limits.max_bytes + 1)
        except (OSError, ValueError, RuntimeError) as error:  # no path; a name too long; a loop
            raise gone if error is not gone else error from None


def _is_blank(words: Any) -> bool:
    return words is None or (isinstance(words, str) and not words.strip())


def _number(value: Any, what: str, least: float, most: float) -> float:
    """What the slider would have sent: beyond its ends, 0 would mean no limit."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise UserError(f'{what} is no number. Move its slider.')
    return float(min(max(value, least), most))
