"""Hidden states and next-token targets of texts, computed by the frozen language model.

Shapes: B texts, T tokens, N packed tokens (no padding), D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmsteer.data.batching import length_sorted_groups
from lmsteer.errors import InputError
from lmsteer.models.chat import ChatText, Text
from lmsteer.models.language_model import LanguageModel

CPU_TOKENS, GPU_TOKENS = 1024, 16384
"""Tokens of a forward pass. A CPU gains nothing from more, a GPU does."""


@dataclass(frozen=True)
class Tokens:
    """Token ids of a text, of which those from ``start`` on are predicted: all but the first, or those of an answer."""

    ids: list[int]
    start: int = 1

    @property
    def targets(self) -> list[int]:
        """The ids that are predicted."""
        return self.ids[self.start :]

    @property
    def inputs(self) -> list[int]:
        """The ids that are read: the last one predicts nothing."""
        return self.ids[:-1]


@dataclass(frozen=True)
class Features:
    """Hidden states and next-token targets, packed over texts in order.

    Position i of a text has the hidden state that predicts its token i + 1, and that token as target. Of a
    conversation only the tokens of the answer are targets.

    Attributes:
        hidden_ND: Hidden states of all texts.
        targets_N: Targets of all texts.
        lengths: Number of targets of each text, (B,).
    """

    hidden_ND: Tensor
    targets_N: Tensor
    lengths: Tensor

    @classmethod
    def pack(cls, texts: Sequence[tuple[Tensor, Tensor]]) -> Features:
        """Pack the hidden states (T, D) and targets (T,) of each text."""
        return cls(
            hidden_ND=torch.cat([hidden for hidden, _ in texts]),
            targets_N=torch.cat([targets for _, targets in texts]),
            lengths=torch.tensor([len(targets) for _, targets in texts], device=texts[0][1].device),
        )


class FeatureExtractor:
    """Compute features of texts by the frozen LM, texts of similar length together.

    At most ``max_length`` tokens of a text are used, and never more than the model's context: of a conversation the
    answer is cut. ``tokens`` is the largest number of tokens of a forward pass, padding included.
    """

    def __init__(self, model: LanguageModel, *, max_length: int = 256) -> None:
        if max_length < 2:
            raise InputError(f"data.max_length={max_length}: 2 or more tokens expected")
        self.model, self.max_length = model, min(max_length, model.context)
        self.tokens = CPU_TOKENS if model.device.type == "cpu" else GPU_TOKENS

    def __call__(self, texts: Sequence[Text]) -> Features:
        """Compute the features of texts; a text of one token has length 0, as it has nothing to predict."""
        encoded = self.encode(texts)
        states: dict[int, tuple[Tensor, Tensor]] = {}
        for group in self.groups(encoded):
            states.update(zip(group, self.states([encoded[index] for index in group]), strict=True))
        return Features.pack([states[index] for index in range(len(texts))])

    def encode(self, texts: Sequence[Text]) -> list[Tokens]:
        """Tokenize texts.

        Raises:
            InputError: If a text has a token without an embedding, or a question leaves no room for its answer.
        """
        if all(isinstance(text, str) for text in texts):
            return [Tokens(ids) for ids in self.model.tokenize(texts, max_length=self.max_length)]
        rows = zip(texts, *self.model.tokenize_with_offsets(texts, max_length=self.max_length), strict=True)
        return [
            Tokens(ids) if isinstance(text, str) else self._answer(text, ids, offsets) for text, ids, offsets in rows
        ]

    def _answer(self, text: ChatText, ids: list[int], offsets: Sequence[tuple[int, int]]) -> Tokens:
        """Find the tokens of an answer: those that end after the question, as in ``continuation_nll``."""
        for token, (_, end) in enumerate(offsets):
            if end > len(text.before):
                return Tokens(ids, max(1, token))
        raise InputError(
            f"data.max_length={self.max_length}: no token is left for the answer to {text.before[-60:]!r}; a larger "
            f"one or shorter questions expected (model {self.model.name} reads at most {self.model.context})"
        )

    def groups(self, encoded: Sequence[Tokens]) -> list[list[int]]:
        """Group the indices of texts that go through the model together, shortest first."""
        return length_sorted_groups([max(len(text.inputs), 1) for text in encoded], budget=self.tokens)

    def states(self, encoded: Sequence[Tokens]) -> list[tuple[Tensor, Tensor]]:
        """Compute hidden states (T, D) and targets (T,) of texts in one forward pass."""
        ids_BT = pad_inputs(encoded).to(self.model.device)
        states_BTD = self.model.hidden(ids_BT if ids_BT.shape[1] else ids_BT.new_zeros(len(encoded), 1))
        targets = [torch.tensor(text.targets, dtype=torch.long).to(self.model.device) for text in encoded]
        return [
            (states_BTD[row, text.start - 1 : len(text.inputs)].clone(), targets[row])
            for row, text in enumerate(encoded)
        ]


def pad_inputs(encoded: Sequence[Tokens]) -> Tensor:
    """Return the tokens (B, T) of texts that are read, padded on the right by zeros."""
    ids_BT = torch.zeros(len(encoded), max((len(text.inputs) for text in encoded), default=0), dtype=torch.long)
    for row, text in enumerate(encoded):
        ids_BT[row, : len(text.inputs)] = torch.tensor(text.inputs, dtype=torch.long)
    return ids_BT
