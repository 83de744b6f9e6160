# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""CLIP's attention pool for one query, without projecting any token."""

from __future__ import annotations

import torch
from open_clip.modified_resnet import AttentionPool2d as CLIPAttentionPool2d
from torch import Tensor


class AttentionPool2d(CLIPAttentionPool2d):
    """The same function and parameters as open_clip's ``AttentionPool2d``, computed for one query.

    CLIP keeps only the output of the mean token's query. Per head, ``q . (W_k x) = (W_k^T q) . x``,
    and ``W_v`` may be applied after the weighted sum, so neither keys nor values are ever computed
    for the ``L`` tokens: about 40 times fewer multiplications, equal up to float rounding.
    A key bias shifts all scores of a query alike and drops out of the softmax; it is kept for the
    state dict but takes no gradient.

    Args:
        spacial_dim: Side of the input map; ``L = spacial_dim ** 2`` tokens plus the mean token.
        embed_dim: Channels ``C`` of the input.
        num_heads: Attention heads.
        output_dim: Size ``D`` of the output.

    Shapes:
        Input ``(R, C, spacial_dim, spacial_dim)``, output ``(R, D)``.
    """

    def __init__(self, spacial_dim: int, embed_dim: int, num_heads: int, output_dim: int) -> None:
        super().__init__(spacial_dim, embed_dim, num_heads, output_dim)
        std = embed_dim**-0.5
        for proj in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            torch.nn.init.normal_(proj.weight, std=std)
        self.k_proj.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``(R, C, h, w)`` maps to ``(R, D)`` embeddings.

        Raises:
            ValueError: The map has another number of positions than positional embeddings exist.
        """
        num_tokens = self.positional_embedding.shape[0]
        if x.shape[-2] * x.shape[-1] + 1 != num_tokens:
            raise ValueError(
                f'The attention pool has {num_tokens - 1} positional embeddings but the map has '
                f'{x.shape[-2]}x{x.shape[-1]} positions: the RoIAlign size does not fit the model.'
            )
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
        tokens += self.positional_embedding.to(tokens.dtype)  # in place: already a copy
        num_regions, _, channels = tokens.shape
        head_dim = channels // self.num_heads

        query = self.q_proj(tokens[:, 0]).view(num_regions, self.num_heads, head_dim)
        w_k = self.k_proj.weight.view(self.num_heads, head_dim, channels)
        w_v = self.v_proj.weight.view(self.num_heads, head_dim, channels)
        key_query = torch.einsum('rhd,hdc->rhc', query * head_dim**-0.5, w_k)
        attention = (key_query @ tokens.transpose(1, 2)).softmax(-1)
        context = attention @ tokens
        value = torch.einsum('rhc,hdc->rhd', context, w_v).flatten(1) + self.v_proj.bias
        return self.c_proj(value)
