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
from lmsteer.models.language_model import LanguageModel

CPU_TOKENS, GPU_TOKENS = 1024, 16384
"""Tokens of a forward pass. A CPU gains nothing from more, a GPU does."""


@dataclass(frozen=True)
class Features:
    """Hidden states and next-token targets, packed over texts in order.

    Position i of a text has the hidden state that predicts its token i + 1, and that token as target.

    Attributes:
        hidden_ND: Hidden states of all texts.
        targets_N: Targets of all texts.
        lengths: Number of tokens of each text, (B,).
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

    At most ``max_length`` tokens of a text are used, and never more than the model's context. ``tokens`` is the largest
    number of tokens of a forward pass, padding included.
    """

    def __init__(self, model: LanguageModel, *, max_length: int = 256) -> None:
        if max_length < 2:
            raise InputError(f"data.max_length={max_length}: 2 or more tokens expected")
        self.model, self.max_length = model, min(max_length, model.context)
        self.tokens = CPU_TOKENS if model.device.type == "cpu" else GPU_TOKENS

    def __call__(self, texts: Sequence[str]) -> Features:
        """Compute the features of texts; a text of one token has length 0, as it has nothing to predict."""
        encoded = self.encode(texts)
        states: dict[int, tuple[Tensor, Tensor]] = {}
        for group in self.groups(encoded):
            states.update(zip(group, self.states([encoded[index] for index in group]), strict=True))
        return Features.pack([states[index] for index in range(len(texts))])

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize texts.

        Raises:
            InputError: If a text has a token without an embedding.
        """
        return self.model.tokenize(texts, max_length=self.max_length)

    def groups(self, encoded: Sequence[Sequence[int]]) -> list[list[int]]:
        """Group the indices of texts that go through the model together, shortest first."""
        return length_sorted_groups([max(len(ids) - 1, 1) for ids in encoded], budget=self.tokens)

    def states(self, encoded: Sequence[Sequence[int]]) -> list[tuple[Tensor, Tensor]]:
        """Compute hidden states (T, D) and targets (T,) of texts in one forward pass.

        The last token of a text predicts nothing and is left out.
        """
        lengths = [max(len(ids) - 1, 0) for ids in encoded]
        ids_BT = torch.zeros(len(encoded), max(1, *lengths), dtype=torch.long)
        for row, ids in enumerate(encoded):
            ids_BT[row, : lengths[row]] = torch.tensor(ids[: lengths[row]], dtype=torch.long)
        states_BTD = self.model.hidden(ids_BT.to(self.model.device))
        targets = [torch.tensor(ids[1:], dtype=torch.long).to(self.model.device) for ids in encoded]
        return [(states_BTD[row, :length].clone(), targets[row]) for row, length in enumerate(lengths)]
