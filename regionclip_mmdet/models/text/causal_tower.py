# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A causal text tower read at the end tokens, without the work that cannot matter there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from open_clip.transformer import TextTransformer
from torch import Tensor


def embed_trimmed(tower: TextTransformer, ids: Tensor) -> Tensor:
    """What the tower gives at the end tokens; all columns behind the last of them are cut off.

    Args:
        tower: Causal.
        ids: Token ids ``(N, L)``, ``N`` at least 1; the largest of a row is its end token.

    Returns:
        ``(N, D)``, not normalized.
    """
    end = ids.argmax(dim=-1)
    length = int(end.max()) + 1
    x = tower.token_embedding(ids[:, :length]) + tower.positional_embedding[:length]
    x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
    x = x[torch.arange(len(x), device=x.device), end]
    return tower.ln_final(x) @ tower.text_projection


def embed_with_shared_beginning(tower: TextTransformer, ids: Tensor) -> Tensor:
    """The same up to rounding, for texts that begin alike, which is computed once.

    A token's state depends on the tokens up to it alone. So the columns in which all rows agree
    ("a photo of a") are one row of states, which the others attend to; what lies behind a row's
    end token is left out; and the last block goes on with the end tokens only.

    All tokens to be computed lie in one list, the shared ones first, then the rest of each row:
    so linear layers, which are nearly all of the work, meet no padding. Attention sees them as
    rows again.

    Args:
        tower: Causal, with the blocks that open_clip builds by default.
        ids: See ``embed_trimmed``.

    Returns:
        ``(N, D)``, not normalized.
    """
    end = ids.argmax(dim=-1)
    ids = ids[:, : int(end.max()) + 1]
    rows, length = ids.shape
    alike = int((ids == ids[:1]).all(dim=0).long().cumprod(dim=0).sum())
    shared = min(alike, int(end.min()))  # every row has a token of its own: at least its end
    columns = torch.arange(length, device=ids.device)
    own = columns[shared:] <= end[:, None]  # (N, L - shared)
    # Where in the list each token of a row lies. Places behind the end are any: no token that
    # counts looks there.
    place = columns.repeat(rows, 1)
    place[:, shared:] = shared - 1 + own.flatten().cumsum(dim=0).view_as(own)
    last = place.gather(1, end[:, None])[:, 0]

    tokens = torch.cat([ids[0, :shared], ids[:, shared:][own]])
    positions = torch.cat([columns[:shared], columns[shared:].expand_as(own)[own]])
    x = tower.token_embedding(tokens) + tower.positional_embedding[positions]
    mask = tower.attn_mask[:length, :length].to(x.dtype)
    blocks = tower.transformer.resblocks
    for block in blocks:
        weights, heads = block.attn, tower.heads
        q, k, v = F.linear(block.ln_1(x), weights.in_proj_weight, weights.in_proj_bias).chunk(
            3, dim=-1
        )
        # the beginning is the start of the list and causal in itself
        first = attend(q[:shared], k[:shared], v[:shared], heads, mask[:shared, :shared])
        behind = attend(q[place[:, shared:]], k[place], v[place], heads, mask[shared:])
        mixed = torch.cat([first, behind[own]])
        if block is blocks[-1]:
            x, mixed = x[last], mixed[last]
        x = x + block.ls_1(weights.out_proj(mixed))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
    return tower.ln_final(x) @ tower.text_projection


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Attention of queries ``(..., Q, C)`` to keys and values ``(..., K, C)``, in heads."""
    parts = (part.unflatten(-1, (heads, -1)).transpose(-2, -3) for part in (q, k, v))
    found = F.scaled_dot_product_attention(*parts, attn_mask=mask)
    return found.transpose(-2, -3).flatten(-2)
