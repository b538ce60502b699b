"""Read a prefix that all prompts of a batch share once, instead of once for each prompt.

Shapes: P prompts, T tokens.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from lmsteer.models.mixture import Source


def read_prefix(source: Source, encoded: Sequence[list[int]], mask_PT: Tensor) -> Any:
    """Read the tokens with which all prompts after a prefix begin, once; return them at their places in each row.

    The rows are padded on the left, so that a part of the tokens of a shorter one may be behind the last place: it is
    read with the prompts.

    Returns:
        The cache; None without such tokens, and for layers that keep only the last ones.
    """
    if not source.prefix or len(encoded) == 1:
        return None
    columns = itertools.takewhile(lambda column: len({*column}) == 1, zip(*encoded, strict=False))
    shared = min(sum(1 for _ in columns), *(len(ids) - 1 for ids in encoded))  # of each a token remains to be read
    if not shared:
        return None
    ids_1T = torch.tensor([encoded[0][:shared]], device=source.model.device)
    position_1T = torch.arange(shared, device=ids_1T.device)[None]
    cache: Any = source.model.body(
        input_ids=ids_1T, attention_mask=torch.ones_like(ids_1T), position_ids=position_1T, use_cache=True
    ).past_key_values
    layers = [layer for layer in cache.layers if type(layer) is DynamicLayer] if type(cache) is DynamicCache else []
    if not layers or len(layers) < len(cache.layers):
        return None
    position_PT = (position_1T - (mask_PT == 0).sum(1, keepdim=True)).clamp(min=0)
    for layer in layers:
        assert layer.keys is not None
        assert layer.values is not None
        position = position_PT.to(layer.keys.device)
        layer.keys, layer.values = (x[0][:, position].transpose(0, 1).contiguous() for x in (layer.keys, layer.values))
    return cache
