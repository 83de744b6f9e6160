# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Cases of the text tower: token ids, caption embeddings, concept embeddings."""

from __future__ import annotations

import torch
from mmengine.config import ConfigDict
from torch import Tensor

from regionclip_mmdet.models.text import CLIPTextEncoder, fill_prompts, get_templates

from . import models
from .case import Case, CaseError
from .comparison import Comparison

WHAT = 'text: token ids, caption embeddings, concept embeddings of all prompts'
MARKS = ('caption_ids', 'concept_token_ids', 'concept_embeddings')
NEEDED = ('caption_ids', 'caption_embeddings', 'concept_token_ids', 'concept_embeddings')


@torch.no_grad()
def run(case: Case, comparison: Comparison) -> None:
    """Compare captions and concepts."""
    arch = models.arch_of(case, case['caption_embeddings'].shape[1])
    config = ConfigDict(type='CLIPTextEncoder', arch=arch, truncate='official')
    encoder = models.build(config).eval()
    models.load_part(
        encoder, models.official_weights(case, 'text_tower_shapes', arch), 'text_encoder'
    )
    encoder.to(case.device)
    captions, names = case.note('captions'), case.note('concept_names')
    if not captions or not names:
        raise CaseError("meta has no 'captions' or no 'concept_names'")
    limit = case.limit('embeddings_max_abs', 1e-4)
    comparison.add('caption_ids', encoder.tokenize(captions), 0)
    comparison.add('caption_embeddings', encoder(captions), limit)
    if 'all_token_embeddings_cap0' in case:
        tokens = _all_tokens(encoder, encoder.tokenize(captions[:1]))
        comparison.add('all_token_embeddings_cap0', tokens, limit)
    templates = get_templates('ensemble81')
    count = case.note('templates', default=len(templates))
    if count != len(templates):
        raise CaseError(f'{count} templates were recorded, the official ones are {len(templates)}')
    ids = torch.stack([encoder.tokenize(fill_prompts(name)) for name in names])
    comparison.add('concept_token_ids', ids, 0)
    embeddings = encoder.encode_names(names).matrix
    comparison.add('concept_embeddings', embeddings, case.limit('concept_max_abs', 1e-4))


def _all_tokens(encoder: CLIPTextEncoder, ids: Tensor) -> Tensor:
    """Projected outputs at all positions ``(N, L, D)``; an embedding is the one at the end."""
    tower = encoder.model
    ids = ids.to(tower.positional_embedding.device)
    x = tower.token_embedding(ids) + tower.positional_embedding
    x = tower.transformer(x, attn_mask=tower.attn_mask)
    return tower.ln_final(x) @ tower.text_projection
