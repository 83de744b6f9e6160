# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Texts that mmdet's own tools give with an image: the class names of that image."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence

from mmdet.structures import DetDataSample
from torch import Tensor

from ..checkpoints.loading import load_from_local
from ..models.detectors import OpenVocabularyRCNN
from ..models.text import CLIPTextEncoder, EmbeddingCache, TextEmbeddings
from .querying import check_dimensions
from .text_source import PREFIX, find_text_encoder
from .vocabulary import parse_vocabulary

_UNUSED = dict(
    tokens_positive='says which letters of a caption name a thing (Grounding DINO)',
    stuff_text='names surfaces for panoptic segmentation',
)
_FILE = 'checkpoint '


def vocabularies_of(
    model: OpenVocabularyRCNN, samples: Sequence[DetDataSample]
) -> list[TextEmbeddings | None]:
    """What each image is to be searched for.

    The texts are class names, whatever ``custom_entities`` says: mmdet's GLIP and Grounding DINO
    look for nouns in a caption if it is False, here a caption without separators is one long name.

    Args:
        model: detector, with ``cfg`` if that has ``prompts`` of its own.
        samples: data samples with ``text`` in their metas: a string or a list, see
            ``parse_vocabulary``. Texts without ``custom_entities`` beside them are captions of a
            dataset, and are left alone.

    Returns:
        Per image its class names and their embeddings; None without texts, or where they are the
        model's.

    Raises:
        RuntimeError: there is no text encoder; says what helps.
        TypeError, ValueError: see ``parse_vocabulary``; or ``tokens_positive`` is given, or
            embeddings of another dimension than the model's.
    """
    texts = _of_model.get(model)
    if texts is None:
        texts = _of_model.setdefault(model, _Texts(model))
    found = []
    for sample in samples:
        for key, meaning in _UNUSED.items():
            if sample.get(key) is not None:
                raise ValueError(
                    f'{key} {meaning}; {type(model).__name__} has no use for it. Give names alone: '
                    "texts='traffic cone . red umbrella'."
                )
        text = None if sample.get('custom_entities') is None else sample.get('text')
        found.append(None if text is None else texts(model, text))
    return found


class _Texts:
    """Embeddings of the texts that a model was given."""

    def __init__(self, model: OpenVocabularyRCNN) -> None:
        self._model = weakref.ref(model)  # no cycle: this is kept as long as the model
        self._weights: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def __call__(
        self, model: OpenVocabularyRCNN, text: str | Sequence[str]
    ) -> TextEmbeddings | None:
        names = parse_vocabulary(text)
        if isinstance(names, TextEmbeddings):
            check_dimensions(model, names)
            return names
        active = model.roi_head.bbox_head.active_classifier
        if tuple(names) == active.names:
            return None
        with self._lock:
            self._forget_older_weights(model)
            embeddings = self._embeddings
        prompts = (getattr(model, 'cfg', None) or {}).get('prompts')
        try:
            return embeddings.encode_names(names, templates=prompts)
        except RuntimeError:
            own = active.vocabulary
            if own is None or not set(names) <= set(own.names):
                raise
            return own.select(names)  # these need no encoder

    def _forget_older_weights(self, model: OpenVocabularyRCNN) -> None:
        encoder = model.text_encoder
        tensors = () if encoder is None else encoder.parameters()
        present = (id(encoder), sum(0 if t.is_inference() else t._version for t in tensors))
        if present != self._weights:
            self._weights = present
            self._embeddings = EmbeddingCache(None, self._find_encoder)

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


_of_model: weakref.WeakKeyDictionary[OpenVocabularyRCNN, _Texts] = weakref.WeakKeyDictionary()
