# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Text: CLIP's text tower, prompts, named embeddings and the cosine classifier made of them."""

from .classifier import TextEmbeddingClassifier
from .clip_text_encoder import CLIPTextEncoder
from .embedding_cache import EmbeddingCache
from .prompts import clean_lvis_name, clean_name, fill_prompts, get_templates
from .text_embeddings import TextEmbeddings, decode_names, encode_names, names_difference

__all__ = [
    'CLIPTextEncoder',
    'EmbeddingCache',
    'TextEmbeddingClassifier',
    'TextEmbeddings',
    'clean_lvis_name',
    'clean_name',
    'decode_names',
    'encode_names',
    'fill_prompts',
    'get_templates',
    'names_difference',
]
