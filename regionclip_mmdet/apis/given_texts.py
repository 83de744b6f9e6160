# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Texts that mmdet's own tools give with an image: the class names of that image."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence

from mmdet.structures import DetDataSample
from torch import Tensor

from ..checkpoints.loading import load_from_local
from ..models.detectors import OpenVocabularyRCNN
from ..models.text import (
    CLIPTextEncoder,
    EmbeddingCache,
    TextEmbeddingClassifier,
    TextEmbeddings,
)
from .text_source import PREFIX, find_text_encoder
from .vocabulary import parse_vocabulary

# Classifiers kept ready per model: 20,000 1024-dimensional embeddings take 80 MB.
CLASSIFIERS_KEPT = 8
_UNUSED = dict(
    tokens_positive='says which letters of a caption name a thing (Grounding DINO)',
    stuff_text='names surfaces for panoptic segmentation',
)
_FILE = 'checkpoint '


def classifiers_of(
    model: OpenVocabularyRCNN, samples: Sequence[DetDataSample]
) -> list[TextEmbeddingClassifier | None]:
    """What each image is to be searched for.

    The texts are class names, whatever ``custom_entities`` says: mmdet's GLIP and Grounding DINO
    look for nouns in a caption if it is False, here a caption without separators is one long name.

    Args:
        model: detector, with ``cfg`` if that has ``prompts`` of its own.
        samples: data samples with ``text`` in their metas: a string or a list, see
            ``parse_vocabulary``. Texts without ``custom_entities`` beside them are captions of a
            dataset, and are left alone.

    Returns:
        Per image a classifier of its class names; None without texts, or where they are the
        model's.

    Raises:
        RuntimeError: there is no text encoder; says what helps.
        TypeError, ValueError: see ``parse_vocabulary``; or ``tokens_positive`` is given.
    """
    classifiers = _of_model.get(model)
    if classifiers is None:
        classifiers = _of_model.setdefault(model, _Classifiers(model))
    found = []
    for sample in samples:
        for key, meaning in _UNUSED.items():
            if sample.get(key) is not None:
                raise ValueError(
                    f'{key} {meaning}; {type(model).__name__} has no use for it. Give names alone: '
                    "texts='traffic cone . red umbrella'."
                )
        text = None if sample.get('custom_entities') is None else sample.get('text')
        found.append(None if text is None else classifiers(model, text))
    return found


class _Classifiers:
    """Classifiers of texts that a model was given, and the embeddings of their names."""

    def __init__(self, model: OpenVocabularyRCNN) -> None:
        self._model = weakref.ref(model)  # no cycle: this is kept as long as the model
        self._weights: tuple[int, int] | None = None
        self._kept: OrderedDict[tuple[str, ...], TextEmbeddingClassifier] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(
        self, model: OpenVocabularyRCNN, text: str | Sequence[str]
    ) -> TextEmbeddingClassifier | None:
        active = model.roi_head.bbox_head.active_classifier
        parsed = parse_vocabulary(text)
        device = active.embeddings.device
        if isinstance(parsed, TextEmbeddings):  # the file may be rewritten between two calls
            return self._build(active, parsed).to(device)
        names = tuple(parsed)
        if names == active.names:
            return None
        with self._lock:
            self._forget_older_weights(model)
            if names not in self._kept:
                self._kept[names] = self._build(active, self._embed(model, names))
            self._kept.move_to_end(names)
            while len(self._kept) > CLASSIFIERS_KEPT:
                self._kept.popitem(last=False)
            return self._kept[names].to(device)

    @staticmethod
    def _build(
        active: TextEmbeddingClassifier, vocabulary: TextEmbeddings
    ) -> TextEmbeddingClassifier:
        return TextEmbeddingClassifier(
            active.embed_dim, vocabulary, active.temperature, active.background
        )

    def _forget_older_weights(self, model: OpenVocabularyRCNN) -> None:
        encoder = model.text_encoder
        tensors = () if encoder is None else encoder.parameters()
        present = (id(encoder), sum(0 if t.is_inference() else t._version for t in tensors))
        if present != self._weights:
            self._weights = present
            self._embeddings = EmbeddingCache(None, self._find_encoder)
            self._kept.clear()

    def _embed(self, model: OpenVocabularyRCNN, names: Sequence[str]) -> TextEmbeddings:
        prompts = (getattr(model, 'cfg', None) or {}).get('prompts')
        try:
            return self._embeddings.encode_names(names, templates=prompts)
        except RuntimeError:
            own = model.roi_head.bbox_head.active_classifier.vocabulary
            if own is None or not set(names) <= set(own.names):
                raise
            return own.select(names)  # these need no encoder

    def _find_encoder(self) -> CLIPTextEncoder:
        model = self._model()
        assert model is not None  # it is being called
        if model.text_encoder is not None:
            return find_text_encoder(model)
        return find_text_encoder(model, None, *_carried(model))


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


_of_model: weakref.WeakKeyDictionary[OpenVocabularyRCNN, _Classifiers] = weakref.WeakKeyDictionary()
