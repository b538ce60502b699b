"""Hidden states of two language models at the same positions of the same texts.

Shapes: T tokens, N positions, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.transfer.steer_maps import AlignedStates

LENGTH = 256
"""Most tokens per text."""


def align_states(source: LanguageModel, target: LanguageModel, texts: Sequence[str]) -> AlignedStates:
    """Compute the hidden states of both models at positions where a token ends in both tokenizations.

    The last token of a text has no hidden state.

    Raises:
        InputError: If there is no such position.
    """
    ends = [_token_ends(model, texts) for model in (source, target)]
    shared = [sorted(ours.keys() & theirs.keys()) for ours, theirs in zip(*ends, strict=True)]
    if not any(shared):
        raise InputError(f"{len(texts)} texts: {source.name} and {target.name} have no token boundary in common")
    tokens = [[[by_end[end] for end in both] for by_end, both in zip(model, shared, strict=True)] for model in ends]
    return AlignedStates(
        _states(source, texts, tokens[0]),
        _states(target, texts, tokens[1]),
        torch.repeat_interleave(torch.tensor([len(both) for both in shared])),
    )


def _token_ends(model: LanguageModel, texts: Sequence[str]) -> list[dict[int, int]]:
    """Map, for each text, the character positions where tokens end to the indices of these, without the last token.

    If several tokens make up one character, the last one counts; special tokens do not count.
    """
    length = min(LENGTH, model.context)
    _, rows = model.tokenize_with_offsets(texts, max_length=length)
    return [{end: index for index, (_, end) in enumerate(offsets[:-1]) if end} for offsets in rows]


def _states(model: LanguageModel, texts: Sequence[str], tokens: Sequence[list[int]]) -> Tensor:
    """Compute the hidden states (N, D) after some tokens of each text, in order."""
    extract = FeatureExtractor(model, max_length=LENGTH)
    encoded = extract.encode(texts)
    states: dict[int, Tensor] = {}
    for group in tqdm(extract.groups(encoded), desc=f"reading with {model.name}"):
        for index, (states_TD, _) in zip(group, extract.states([encoded[index] for index in group]), strict=True):
            states[index] = states_TD[tokens[index]]
    return torch.cat([states[index] for index in range(len(texts))])
