"""Count the padding of a batch as text, as the original implementation does."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch

from lmsteer.data.datamodule import Batch, SteerDataModule
from lmsteer.data.features import FeatureExtractor, Features
from lmsteer.errors import InputError


class PaddedDataModule(SteerDataModule):
    """Batches whose training loss counts padding, as in the reference implementation, to measure its effect.

    Hidden states depend on the other texts of a batch, so they are not stored. The dev loss never counts padding.

    Raises:
        InputError: If there are several processes, rows answer questions, or the tokenizer has no end-of-sequence
            token.
    """

    counts_padding: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse several processes, answers to questions, and a tokenizer without an end-of-sequence token."""
        super().check()
        if any(row.turns for row in (*self.corpus.train, *self.dev)):
            raise InputError("data=padded: plain texts expected, not answers to questions; data=packed")
        if self.process_group.size > 1:
            raise InputError("data=padded: one process expected, as padding depends on the batch; trainer=single")
        self.padded_extractor = PaddedExtractor(FeatureExtractor(self.extract.model, max_length=self.max_length))

    def train_batches(self, steps: Iterable[int]) -> list[Batch]:
        """Compute the training batches of some steps, each with its own padding."""
        row_lists = [self.rows(t) for t in steps]
        return [self.split(self.padded_extractor([row.text for row in rows]), [rows])[0] for rows in row_lists]


class PaddedExtractor:
    """Compute the features of one padded batch whose padding counts as text.

    End-of-sequence tokens after each text fill the batch up to its longest text. They are masked as keys, but are
    targets like any other token, so that all texts have the same length.

    Raises:
        InputError: If the tokenizer has no end-of-sequence token, or it has no embedding.
    """

    def __init__(self, extract: FeatureExtractor) -> None:
        end = extract.model.tokenizer.eos_token_id
        if end is None or end >= extract.model.rows:
            raise InputError(
                f"data=padded: the tokenizer of {extract.model.name} has no end-of-sequence token with an embedding"
            )
        self.extract, self.end = extract, end

    def __call__(self, texts: Sequence[str]) -> Features:
        """Return the features of texts, B × (longest text - 1) tokens."""
        model, encoded = self.extract.model, [text.ids for text in self.extract.encode(texts)]
        ids_BT = torch.full((len(encoded), max(1, *map(len, encoded))), self.end)
        mask_BT = torch.zeros_like(ids_BT)
        for row, ids in enumerate(encoded):
            ids_BT[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
            mask_BT[row, : max(1, len(ids))] = 1
        states_BTD = model.hidden(ids_BT.to(model.device), mask_BT.to(model.device))
        return Features.pack(list(zip(states_BTD[:, :-1], ids_BT[:, 1:].to(model.device), strict=True)))
