"""What two language models make of the same texts, place by place.

Shapes: T tokens, N places, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.transfer.steer_maps import Places

LENGTH = 256
"""Tokens of a text that are read, at most."""


def read_places(source: LanguageModel, target: LanguageModel, texts: Sequence[str]) -> Places:
    """Read every text with both models; the places are those where a token ends in both tokenizations.

    Behind the last token of a text nothing is read.

    Raises:
        InputError: If there is no such place.
    """
    ends = [_ends(model, texts) for model in (source, target)]
    both = [sorted(ours.keys() & theirs.keys()) for ours, theirs in zip(*ends, strict=True)]
    if not any(both):
        raise InputError(f"{len(texts)} texts: {source.name} and {target.name} end no token at the same place of one")
    wanted = [[[own[end] for end in shared] for own, shared in zip(model, both, strict=True)] for model in ends]
    return Places(
        _states(source, texts, wanted[0]),
        _states(target, texts, wanted[1]),
        torch.repeat_interleave(torch.tensor([len(shared) for shared in both])),
    )


def _ends(model: LanguageModel, texts: Sequence[str]) -> list[dict[int, int]]:
    """By text: the number of the token that ends behind a character, for all but the last token.

    Of several tokens that make up one character only the last ends it; special tokens end nothing.
    """
    length = min(LENGTH, model.context)
    rows = model.tokenizer(list(texts), truncation=True, max_length=length, return_offsets_mapping=True)
    return [{end: place for place, (_, end) in enumerate(offsets[:-1]) if end} for offsets in rows["offset_mapping"]]


def _states(model: LanguageModel, texts: Sequence[str], wanted: Sequence[list[int]]) -> Tensor:
    """Hidden states (N, D) behind the wanted tokens of all texts, in their order."""
    extract = FeatureExtractor(model, max_length=LENGTH)
    encoded = extract.encode(texts)
    parts: dict[int, Tensor] = {}
    for group in tqdm(extract.groups(encoded), desc=f"reading with {model.name}"):
        for index, (states_TD, _) in zip(group, extract.states([encoded[index] for index in group]), strict=True):
            parts[index] = states_TD[wanted[index]]
    return torch.cat([parts[index] for index in range(len(texts))])
