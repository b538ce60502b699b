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
from lmsteer.steering.model import LanguageModel


@dataclass(frozen=True)
class Features:
    """Packed over texts in their given order; ``lengths`` (B,) says how many of the N tokens are whose.

    Position i of a text holds the hidden state before its token i + 1 and that token as target.
    """

    hidden_ND: Tensor
    targets_N: Tensor
    lengths: Tensor


class FeatureExtractor:
    """Run the frozen LM over texts, ``group`` texts of like length at a time.

    At most ``max_length`` tokens of a text are used, and never more than the model's context.
    """

    def __init__(self, model: LanguageModel, *, max_length: int = 256, group: int = 16) -> None:
        if max_length < 2:
            raise InputError(f"fit.max_length={max_length}: 2 or more tokens expected")
        self.model, self.max_length, self.group = model, min(max_length, model.context), group

    def __call__(self, texts: Sequence[str]) -> Features:
        """Features of ``texts``; a text of one token has length 0, there is nothing to predict in it."""
        encoded = self.model.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        hidden: list[Tensor] = [torch.empty(0)] * len(encoded)
        for group in length_sorted_groups([len(ids) for ids in encoded], size=self.group):
            for index, states in zip(group, self._group([encoded[i] for i in group]), strict=True):
                hidden[index] = states
        targets = [torch.tensor(ids[1:], dtype=torch.long) for ids in encoded]
        return Features(
            hidden_ND=torch.cat(hidden),
            targets_N=torch.cat(targets).to(self.model.device),
            lengths=torch.tensor([len(target) for target in targets], device=self.model.device),
        )

    def _group(self, encoded: list[list[int]]) -> list[Tensor]:
        longest = max(1, *(len(ids) for ids in encoded))
        ids_BT = torch.zeros(len(encoded), longest, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for row, ids in enumerate(encoded):
            ids_BT[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
            mask_BT[row, : len(ids)] = 1
        states_BTD = self.model.hidden(ids_BT.to(self.model.device), mask_BT.to(self.model.device))
        return [states_BTD[row, : max(len(ids) - 1, 0)].clone() for row, ids in enumerate(encoded)]
