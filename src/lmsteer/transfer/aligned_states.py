"""Hidden states of two language models at the same positions of the same texts.

Shapes: T tokens, N positions, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.chat import ChatText, Text
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.transfer.steer_maps import AlignedStates

LENGTH = 256
"""Most tokens per text."""


def align_states(source: LanguageModel, target: LanguageModel, rows: Sequence[Row]) -> AlignedStates:
    """Compute the hidden states of both models at positions where a token ends in both tokenizations.

    Each model reads an answer after its question, in its own format; positions are the end of the question and those of
    the answer. The last token of a text has no hidden state.

    Raises:
        InputError: If there is no such position, a model has no format for questions, or a question leaves no room for
            its answer.
    """
    texts = [[model.text(row) for row in rows] for model in (source, target)]
    ends = [_token_ends(source, texts[0]), _token_ends(target, texts[1])]
    shared = [sorted(ours.keys() & theirs.keys()) for ours, theirs in zip(*ends, strict=True)]
    if not any(shared):
        raise InputError(f"{len(rows)} texts: {source.name} and {target.name} have no token boundary in common")
    tokens = [[[by_end[end] for end in both] for by_end, both in zip(model, shared, strict=True)] for model in ends]
    return AlignedStates(
        _states(source, texts[0], tokens[0]),
        _states(target, texts[1], tokens[1]),
        torch.repeat_interleave(torch.tensor([len(both) for both in shared])),
    )


def _token_ends(model: LanguageModel, texts: Sequence[Text]) -> list[dict[int, int]]:
    """Map, for each text, the character positions where tokens end to the indices of these, without the last token.

    Positions in an answer count from its beginning, where the question ends. If several tokens make up one character,
    the last one counts; special tokens do not count.
    """
    _, rows = model.tokenize_with_offsets(texts, max_length=min(LENGTH, model.context))
    starts = [len(text.before) if isinstance(text, ChatText) else 0 for text in texts]
    return [
        {end - start: index for index, (_, end) in enumerate(offsets[:-1]) if end >= max(start, 1)}
        for start, offsets in zip(starts, rows, strict=True)
    ]


def _states(model: LanguageModel, texts: Sequence[Text], tokens: Sequence[list[int]]) -> Tensor:
    """Compute the hidden states (N, D) after some tokens of each text, in order."""
    extract = FeatureExtractor(model, max_length=LENGTH)
    encoded = extract.encode(texts)
    states: dict[int, Tensor] = {}
    for group in tqdm(extract.groups(encoded), desc=f"reading with {model.name}"):
        for index, (states_TD, _) in zip(group, extract.states([encoded[index] for index in group]), strict=True):
            first = encoded[index].start - 1  # whose state predicts the first token of an answer
            states[index] = states_TD[[token - first for token in tokens[index]]]
    return torch.cat([states[index] for index in range(len(texts))])
