# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Text: named embeddings and the cosine classifier made of them."""

from .classifier import TextEmbeddingClassifier
from .text_embeddings import TextEmbeddings, decode_names, encode_names, names_difference

__all__ = [
    'TextEmbeddingClassifier',
    'TextEmbeddings',
    'decode_names',
    'encode_names',
    'names_difference',
]
