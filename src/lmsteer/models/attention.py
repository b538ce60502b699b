"""Attention as two matrix products: on a CPU, for short texts, faster than torch's own.

Shapes: B rows, H heads, K heads of keys and values, G = H / K, T new tokens, S tokens seen, D size of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from lmsteer.models.device_map import computes_on

NAME = "lmsteer_products"
LARGEST = 2**24
"""Most scores in memory at once; for more, torch's own attention is used, which stores none."""


def attention_by_products(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Return ``softmax(q kᵀ) v`` (B, T, H, D) of queries (B, H, T, D) over keys and values (B, K, S, D), and None.

    Heads that share keys are rows of one product, so nothing is repeated; the softmax is computed in float32 at least.
    Any other than causal attention with at most a boolean mask is left to ``sdpa`` of transformers.
    """
    rows, heads, new, size = query.shape
    groups, seen = key.shape[1], key.shape[2]
    allowed: Tensor | None
    if attention_mask is None and new > 1:
        plain = new == seen
        allowed = torch.ones(new, seen, dtype=torch.bool, device=query.device).tril_()
    else:
        plain = attention_mask is None or (attention_mask.dtype == torch.bool and attention_mask.shape[1] == 1)
        allowed = attention_mask if attention_mask is None else attention_mask[:, :, None]
    if not plain or rows * heads * new * seen > LARGEST or kwargs.get("position_bias") is not None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return output, None
    scaled = (query * (size**-0.5 if scaling is None else scaling)).reshape(rows, groups, -1, size)
    scores = (scaled @ key.transpose(-1, -2)).view(rows, groups, -1, new, seen)
    if allowed is not None:
        scores = scores.masked_fill_(~allowed, torch.finfo(scores.dtype).min)  # not -inf: rows of padding
    exact = torch.promote_types(scores.dtype, torch.float32)
    shares = scores.softmax(-1, dtype=exact).to(value.dtype)
    output = shares.view(rows, groups, -1, seen) @ value
    return output.view(rows, heads, new, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attention_by_products)
AttentionMaskInterface.register(NAME, sdpa_mask)


@contextmanager
def fast_attention(lm: PreTrainedModel) -> Iterator[None]:
    """Let a model on a CPU use ``attention_by_products`` inside; a model without ``sdpa`` is not changed."""
    if computes_on(lm.get_input_embeddings()).type != "cpu" or lm.config._attn_implementation != "sdpa":
        yield
        return
    lm.set_attn_implementation(NAME)
    try:
        yield
    finally:
        lm.set_attn_implementation("sdpa")
