# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Texts that mmdet's own tools give with an image, as names of that image."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from mmdet.structures import DetDataSample
from torch import Tensor

from ..checkpoints.loading import load_from_local
from ..models.detectors import OpenVocabularyRCNN
from ..models.text import CLIPTextEncoder, TextEmbeddingClassifier, TextEmbeddings
from .name_embedder import NameEmbedder
from .text_source import PREFIX, find_text_encoder
from .vocabulary import parse_vocabulary

# Vocabularies kept ready per model: 20,000 names of width 1024 take 80 MB.
VOCABULARIES_KEPT = 8
_UNUSED = dict(
    tokens_positive='says which letters of a caption name a thing (Grounding DINO)',
    stuff_text='names surfaces for panoptic segmentation',
)
_FILE = 'checkpoint '


def classifiers_of(
    model: OpenVocabularyRCNN, samples: Sequence[DetDataSample]
) -> list[TextEmbeddingClassifier | None]:
    """What each image is to be searched for.

    The texts are names, whatever ``custom_entities`` says: mmdet's GLIP and Grounding DINO look for
    nouns in a caption if it is False, here a caption without separators is one long name.

    Args:
        model: With ``cfg``, if that has ``prompts`` of its own.
        samples: With ``text`` in their metas: a string or a list; see ``parse_vocabulary``. Texts
            without ``custom_entities`` beside them are captions of a dataset, and not asked for.

    Returns:
        Per image a classifier of its names; None without texts, or where they are the model's.

    Raises:
        RuntimeError: There is no text encoder; says what helps.
        TypeError, ValueError: See ``parse_vocabulary``; or ``tokens_positive`` is given.
    """
    asked = _of_model.get(model)
    if asked is None:
        asked = _of_model.setdefault(model, _AskedNames(model))
    found = []
    for sample in samples:
        for key, meaning in _UNUSED.items():
            if sample.get(key) is not None:
                raise ValueError(
                    f'{key} {meaning}; {type(model).__name__} has no use for it. Give names alone: '
                    "texts='traffic cone . red umbrella'."
                )
        text = None if sample.get('custom_entities') is None else sample.get('text')
        found.append(None if text is None else asked(model, text))
    return found


class _AskedNames:
    """Names a model was asked for, embedded once."""

    def __init__(self, model: OpenVocabularyRCNN) -> None:
        self._model = weakref.ref(model)  # no cycle: this is kept as long as the model
        self._embedder = NameEmbedder(self._find_encoder)
        self._weights: Any = None
        self._kept: OrderedDict[tuple, TextEmbeddingClassifier] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(
        self, model: OpenVocabularyRCNN, text: str | Sequence[str]
    ) -> TextEmbeddingClassifier | None:
        names = parse_vocabulary(text)
        head = model.roi_head.bbox_head
        active = head.active_classifier
        if not isinstance(names, TextEmbeddings) and tuple(names) == active.names:
            return None
        with self._lock:
            self._forget_older_weights(model)
            # an embedding file may be written anew between two calls
            key = None if isinstance(names, TextEmbeddings) else tuple(names)
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key].to(active.embeddings.device)
            made = TextEmbeddingClassifier(
                active.embed_dim,
                self._embed(model, names),
                active.temperature,
                active.background,
            ).to(active.embeddings.device)
            if key is not None:
                self._kept[key] = made
                while len(self._kept) > VOCABULARIES_KEPT:
                    self._kept.popitem(last=False)
            return made

    def _forget_older_weights(self, model: OpenVocabularyRCNN) -> None:
        encoder = model.text_encoder
        tensors = [] if encoder is None else encoder.parameters()
        present = (id(encoder), sum(0 if t.is_inference() else t._version for t in tensors))
        if present != self._weights:
            self._weights = present
            self._embedder = NameEmbedder(self._find_encoder)
            self._kept.clear()

    def _embed(
        self, model: OpenVocabularyRCNN, names: Sequence[str] | TextEmbeddings
    ) -> TextEmbeddings:
        if isinstance(names, TextEmbeddings):
            return names
        prompts = (getattr(model, 'cfg', None) or {}).get('prompts') or 'ensemble81'
        try:
            return self._embedder(names, prompts)
        except RuntimeError:
            own = model.roi_head.bbox_head.active_classifier.vocabulary
            if own is None or not set(names) <= set(own.names):
                raise
            return own.select(names)  # it knows these without an encoder

    def _find_encoder(self) -> CLIPTextEncoder:
        model = self._model()
        carried, origin = {}, 'the checkpoint'
        if model.text_encoder is None:
            carried, origin = _carried(model)
        return find_text_encoder(model, None, carried, origin)


def _carried(model: OpenVocabularyRCNN) -> tuple[dict[str, Tensor], str]:
    """The text encoder in the checkpoint the model was loaded from, if it is still there."""
    for source in filter(None, model.weight_sources().values()):
        file = source.removeprefix(_FILE)
        if source.startswith(_FILE) and os.path.isfile(file):
            content = load_from_local(file, 'cpu')
            state = content.get('state_dict', content)
            found = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
            if found:
                return found, file
    return {}, 'the checkpoint'


_of_model: weakref.WeakKeyDictionary[OpenVocabularyRCNN, _AskedNames] = weakref.WeakKeyDictionary()
