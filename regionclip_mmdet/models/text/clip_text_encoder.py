# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""CLIP's text tower (open_clip's), made economical for many short prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import open_clip
import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from open_clip.transformer import QuickGELU, TextTransformer
from torch import Tensor, nn
from tqdm import tqdm

from ...compat import cast_masks_under_cpu_autocast
from ..precision import StaysFloat32
from .causal_tower import embed_trimmed, embed_with_shared_beginning
from .prompts import clean_name, fill_prompts, get_templates
from .text_embeddings import TextEmbeddings, check_names_valid

Truncate = Literal['keep_end', 'official']

# Prompts in memory at a time while a vocabulary is embedded: bounds memory, leaves room to sort.
_PROMPTS_PER_CHUNK = 16384


@lru_cache
def _tokenizer() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer()


def tower_settings(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a text tower.

    Args:
        arch: See ``CLIPTextEncoder``.

    Raises:
        ValueError: No such model, or one whose text tower is of another kind.
    """
    if not isinstance(arch, str):
        settings = dict(arch)
    else:
        config = open_clip.get_model_config(arch)
        if config is None:
            raise ValueError(f'open_clip knows no model {arch!r}; see open_clip.list_models()')
        settings = dict(config['text_cfg'], embed_dim=config['embed_dim'])
    known = {'context_length', 'vocab_size', 'width', 'heads', 'layers', 'embed_dim', 'quick_gelu'}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise ValueError(
            f"text tower of {arch!r}: settings {unknown} are none of {sorted(known)}; only CLIP's "
            'own text tower is known here'
        )
    return settings


@MODELS.register_module()
class CLIPTextEncoder(StaysFloat32, BaseModule):
    """Text to embeddings.

    The parameters under ``model.`` carry CLIP's own names (``transformer.*``,
    ``token_embedding.weight``, ``positional_embedding``, ``ln_final.*``, ``text_projection``).

    The embedding of a text is read at its largest token id, which is the end token. As the tower
    is causal, nothing behind that position matters: every batch is cut there, at the longest
    prompt, which gives the same embeddings for a fraction of the work (a prompt has about ten
    tokens, the context 77). For the same reason ``encode_names`` computes only once what all
    prompts of a template have before the name.

    Args:
        arch: an open_clip model name (``'RN50'``, ``'RN50x4'``, ...), or a dict with
            ``context_length, vocab_size, width, heads, layers, embed_dim`` and, optionally,
            ``quick_gelu`` (default True: what OpenAI's weights were trained with).
        frozen: no gradients, and evaluation mode whatever ``train()`` says.
        truncate: what happens to a text longer than the context. ``'keep_end'`` replaces its last
            kept token by the end token (open_clip's way). ``'official'`` merely cuts, as RegionCLIP
            does: the end token is gone, the embedding is read at the start token, and all
            over-long texts share one embedding.
        init_cfg: for example ``dict(type='CLIPPretrained', checkpoint='RN50/openai')``.
    """

    clip_prefixes: tuple[tuple[str, str], ...] = (('model.', ''),)

    def __init__(
        self,
        arch: str | Mapping[str, Any] = 'RN50',
        frozen: bool = True,
        truncate: Truncate = 'keep_end',
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if truncate not in ('keep_end', 'official'):
            raise ValueError(f"truncate must be 'keep_end' or 'official', not {truncate!r}")
        settings = tower_settings(arch)
        self.arch = arch if isinstance(arch, str) else dict(settings)
        self.frozen = frozen
        self.truncate = truncate
        self.weights_source: str | None = None
        self.embed_dim: int = settings.pop('embed_dim')
        quick_gelu = settings.pop('quick_gelu', True)
        self.model = TextTransformer(
            output_dim=self.embed_dim, act_layer=QuickGELU if quick_gelu else nn.GELU, **settings
        )
        cast_masks_under_cpu_autocast(self.model)
        if frozen:
            self.requires_grad_(False)
            self.eval()

    def train(self, mode: bool = True) -> CLIPTextEncoder:
        """As ever, except that a frozen encoder stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    @property
    def context_length(self) -> int:
        """Tokens a text may have, start and end included."""
        return self.model.context_length

    def tokenize(self, texts: str | Sequence[str], truncate: Truncate | None = None) -> Tensor:
        """Token ids of texts.

        Args:
            texts: one text or several.
            truncate: overrides the encoder's own choice.

        Returns:
            int64 ``(N, context_length)``, zero behind the end token.
        """
        tokenizer = _tokenizer()
        texts = [texts] if isinstance(texts, str) else list(texts)
        ids = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in enumerate(texts):
            body = tokenizer.encode(text)
            tokens = [tokenizer.sot_token_id, *body, tokenizer.eot_token_id]
            if len(tokens) > self.context_length:
                tokens = tokens[: self.context_length]
                if (truncate or self.truncate) == 'keep_end':
                    tokens[-1] = tokenizer.eot_token_id
            ids[row, : len(tokens)] = torch.tensor(tokens)
        return ids

    def forward(self, texts: str | Sequence[str] | Tensor) -> Tensor:
        """Embed texts.

        Args:
            texts: texts, or token ids ``(N, L)`` with ``L`` up to the context length.

        Returns:
            float32 ``(N, D)``, not normalized.
        """
        ids = texts if isinstance(texts, Tensor) else self.tokenize(texts)
        device = self.model.positional_embedding.device
        return self._embed(ids.to(device), embed_trimmed).float()

    def _embed(self, ids: Tensor, run: Callable[[TextTransformer, Tensor], Tensor]) -> Tensor:
        """Embeddings ``(N, D)`` of token ids ``(N, L)``."""
        tower = self.model
        if len(ids) == 0:
            return tower.text_projection.new_zeros(0, self.embed_dim)
        if int(ids.max()) >= tower.vocab_size:
            raise ValueError(
                f'token id {int(ids.max())} lies outside the vocabulary of {tower.vocab_size}; '
                f'the CLIP tokenizer needs vocab_size={_tokenizer().vocab_size}'
            )
        return run(tower, ids)

    @torch.no_grad()
    def encode_names(
        self,
        names: Sequence[str],
        templates: str | Sequence[str] = 'ensemble81',
        batch_size: int = 256,
        progress: bool = False,
    ) -> TextEmbeddings:
        """Embed names: the mean of the unnormalized embeddings of their prompts.

        In float32 under autocast, too: what is made here is kept.

        Args:
            names: distinct names; checked before any of them is embedded.
            templates: a named set or a list, see :func:`get_templates`.
            batch_size: prompts per forward pass.
            progress: show a progress bar.

        Raises:
            ValueError: no names, a bare string, one that is no string, occurs again, or of which
                nothing is left in a prompt.
        """
        check_names_embeddable(names)
        filled = get_templates(templates)
        device = self.model.positional_embedding.device
        chunk_size = max(1, _PROMPTS_PER_CHUNK // len(filled))
        parts: list[Tensor] = []
        with tqdm(total=len(names) * len(filled), unit='prompt', disable=not progress) as bar:
            for start in range(0, len(names), chunk_size):
                prompts = [fill_prompts(name, filled) for name in names[start : start + chunk_size]]
                total = torch.zeros(len(prompts), self.embed_dim, device=device)
                for of_template in zip(*prompts):  # these begin alike
                    ids = self.tokenize(of_template).to(device)
                    for rows in self._batches_by_length(ids, batch_size):
                        with torch.autocast(device.type, enabled=False):
                            total[rows] += self._embed(ids[rows], embed_with_shared_beginning)
                        bar.update(len(rows))
                parts.append(total.cpu() / len(filled))
        matrix = torch.cat(parts) if parts else torch.zeros(0, self.embed_dim)
        return TextEmbeddings(tuple(names), matrix, self.provenance(templates))

    @staticmethod
    def _batches_by_length(ids: Tensor, batch_size: int) -> tuple[Tensor, ...]:
        """Rows of batches, prompts of like length together so that attention sees no padding."""
        return ids.argmax(dim=-1).argsort(stable=True).split(batch_size)

    def provenance(self, templates: str | Sequence[str]) -> dict[str, Any]:
        """Notes that go with embeddings made by ``encode_names``."""
        return dict(
            model=self.arch,
            weights=self.weights_source,
            templates=templates if isinstance(templates, str) else list(templates),
            num_templates=len(get_templates(templates)),
            normalized=False,
            source='CLIPTextEncoder.encode_names',
        )


def check_names_embeddable(names: Sequence[str]) -> None:
    """Refuse names that cannot be put into prompts.

    Raises:
        ValueError: See ``check_names_valid``; or nothing of a name is left in a prompt.
    """
    check_names_valid(names)
    blank = [name for name in names if not clean_name(name).strip()]
    if blank:
        raise ValueError(f'these names leave nothing to put into a prompt: {blank[:10]}')
