# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Detection for the page, without a page: images are encoded once and queried often."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import nn

from regionclip_mmdet.apis import EncodedImage, query_image
from regionclip_mmdet.apis.encoding import encode_samples
from regionclip_mmdet.apis.image_inputs import ImageInputs
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.recipes.words import distinct_names

from .errors import UserError
from .outcomes import SHOWN_SIDE, Outcome, describe
from .uploads import ImageLimits, UploadedImage, read_upload
from .vocabularies import WordEmbedder, words_of

Report = Callable[[str, float | None], None]


@dataclass(frozen=True)
class Query:
    """What a visitor wants to find in an image.

    Attributes:
        words: text as typed, see ``words_of``.
        preset: names of a chosen list, which come first.
        score_thr: score below which detections are left out.
        max_per_img: maximum number of detections.
        iou_thr: IoU threshold of NMS; None: as configured.
        top_k: number of names listed for each region.
    """

    words: str = ''
    preset: tuple[str, ...] = ()
    score_thr: float = 0.3
    max_per_img: int = 50
    iou_thr: float | None = None
    top_k: int = 5

    def names(self, max_names: int) -> tuple[str, ...]:
        """The preset's names and the words, each once.

        Raises:
            UserError: None at all, or more than ``max_names``.
        """
        names = tuple(distinct_names([*self.preset, *words_of(self.words)])[0])
        if not names:
            raise UserError(
                'No names yet. Type some, as in "cat . dog ." or one a line, or choose a list.'
            )
        if len(names) > max_names:
            raise UserError(
                f'{len(names):,} names are more than the {max_names:,} of this server. Use fewer.'
            )
        return names


class DetectionService:
    """Answers queries, from several threads; holds nothing about visitors.

    Encoded images are kept, the least recently used forgotten first, under a hash of their
    pixels; a vocabulary is an argument of each query, never a state of the model. Queries take
    turns in computing (``Turns``): an image is encoded in one turn, names are embedded in many.

    Args:
        model: detector as ``init_detector`` creates it.
        embedder: embeds names.
        limits: limits of an upload.
        max_names: maximum number of names in a query.
        kept_images: number of encoded images kept, of all visitors together.
    """

    def __init__(
        self,
        model: nn.Module,
        embedder: WordEmbedder,
        limits: ImageLimits | None = None,
        max_names: int = 10_000,
        kept_images: int = 16,
    ) -> None:
        self.model = model
        # once and here: mmengine's registries are not made for several threads
        self.inputs = ImageInputs(model.cfg)
        self.embedder = embedder
        self.limits = limits or ImageLimits()
        self.max_names = max_names
        self.kept_images = kept_images
        self._encoded: OrderedDict[str, EncodedImage] = OrderedDict()
        self._lock = threading.Lock()
        self._looking = threading.Lock()

    def answer(self, upload: bytes, query: Query, report: Report | None = None) -> Outcome:
        """Detections of named things in an uploaded file.

        Args:
            upload: The file's bytes.
            query: Names and limits.
            report: Called with what is done now and how much of it is (0 to 1, None: unknown).

        Raises:
            UserError: The file or the words cannot be used; says what to do.
        """
        report = report or (lambda stage, part: None)

        def told() -> None:
            report('Waiting for other queries', None)

        start = time.perf_counter()
        names = query.names(self.max_names)  # before the long work, which words may be wrong
        self.embedder.check(names)
        turns = self.embedder.turns
        with turns.take(told):
            # one large image in memory at a time, however many queries are under way
            image, encoded, is_new = self._encode(upload, report)
        vocabulary = self.embedder.embed(
            names, lambda done, total: report(f'Reading {total:,} names', done / total), told
        )
        with turns.take(told):
            report('Comparing', None)
            begin = time.perf_counter()
            found = self._query(encoded, vocabulary, query)
            query_time = time.perf_counter() - begin
            outcome = describe(self.model, image, encoded, vocabulary, found, query.top_k)
        total = time.perf_counter() - start
        how = 'encoded now' if is_new else 'encoded earlier'
        outcome.notes += image.notes
        outcome.notes.append(f'{total:.2f} s in all, the query {query_time:.2f} s; image {how}')
        return outcome

    def look(self, upload: bytes) -> str:
        """Size of an uploaded image in words, and how it is read.

        Raises:
            UserError: It cannot be used.
        """
        with self._looking:  # nobody waits in a queue to look, and many large ones fill the memory
            image = read_upload(upload, self.limits)
        return '; '.join([f'Image of {image.size} pixels', *image.notes]) + '.'

    def _encode(self, upload: bytes, report: Report) -> tuple[UploadedImage, EncodedImage, bool]:
        """The image as it is shown, its regions, and whether they are new; within a turn."""
        image = read_upload(upload, self.limits)
        shown = image.shrunk(SHOWN_SIDE)
        if (known := self._recall(image.key)) is not None:
            return shown, known, False
        report(f'Encoding the image ({image.size}), once', None)
        bgr = np.ascontiguousarray(image.rgb[..., ::-1])
        (encoded,) = encode_samples(self.model, [self.inputs(bgr)])
        encoded = replace(encoded, feature_map=None)  # masks are not shown; it is large
        with self._lock:
            self._encoded[image.key] = encoded
            while len(self._encoded) > self.kept_images:
                self._encoded.popitem(last=False)
        return shown, encoded, True

    def _recall(self, key: str) -> EncodedImage | None:
        with self._lock:
            if key in self._encoded:
                self._encoded.move_to_end(key)
            return self._encoded.get(key)

    def _query(
        self, encoded: EncodedImage, vocabulary: TextEmbeddings, query: Query
    ) -> InstanceData:
        changes = dict(score_thr=query.score_thr, max_per_img=query.max_per_img)
        if query.iou_thr is not None:
            nms = self.model.roi_head.test_cfg['nms']
            changes['nms'] = ConfigDict({**nms, 'iou_threshold': query.iou_thr})
        return query_image(self.model, encoded, vocabulary, masks=False, **changes)
