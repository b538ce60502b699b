"""A corpus as a LightningDataModule: packed hidden states, targets and strengths.

Shapes: N packed tokens, D width, K dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lmsteer.data.batching import batch_rows
from lmsteer.data.corpus import Corpus
from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.records import Row


class Batch(NamedTuple):
    """What the task sees: never a token of padding, never the language model."""

    hidden_ND: Tensor
    targets_N: Tensor
    strength_NK: Tensor


class CorpusData(pl.LightningDataModule):
    """Batches of a labelled corpus for fitting a steer.

    The label of a row is its strength on the first dimension; every further dimension (the dummy) is on at 1.
    The data module owns the language model, through ``extract``.

    Args:
        dimensions: Number K of the steer's dimensions.
        dev_rows: At most so many dev rows are used; the first ones.

    Raises:
        InputError: If the corpus has no training rows or a number is below 1.
    """

    def __init__(
        self,
        corpus: Corpus,
        extract: FeatureExtractor,
        *,
        dimensions: int,
        batch_size: int = 32,
        dev_rows: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not corpus.train:
            raise InputError(f"corpus {corpus.name} has no rows to train on; at least one is needed")
        for name, value in (("batch_size", batch_size), ("dev_rows", dev_rows)):
            if value < 1:
                raise InputError(f"fit.{name}={value}: an integer of 1 or more expected")
        self.corpus, self.extract = corpus, extract
        self.dimensions, self.batch_size, self.seed = dimensions, batch_size, seed
        self.dev = corpus.dev[:dev_rows]
        self._dev_batches: list[Batch] | None = None

    def batch(self, rows: Sequence[Row]) -> Batch:
        """Packed features of rows, with each token's strengths."""
        features = self.extract([row.text for row in rows])
        strength_BK = torch.ones(len(rows), self.dimensions, device=features.lengths.device)
        strength_BK[:, 0] = torch.tensor([row.label for row in rows], device=features.lengths.device)
        return Batch(features.hidden_ND, features.targets_N, strength_BK.repeat_interleave(features.lengths, dim=0))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches t, t + 1, … from the trainer's global step on, without end."""
        start = self.trainer.global_step if self.trainer is not None else 0
        return DataLoader(_TrainBatches(self, start), batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The dev rows in fixed order; their features are computed once."""
        if self._dev_batches is None:
            size = self.batch_size
            groups = [self.dev[start : start + size] for start in range(0, len(self.dev), size)]
            self._dev_batches = [self.batch(group) for group in groups]
        return DataLoader(self._dev_batches, batch_size=None)  # type: ignore[arg-type]


class _TrainBatches(IterableDataset[Batch]):
    def __init__(self, data: CorpusData, start: int) -> None:
        self.data, self.start = data, start

    def __iter__(self) -> Iterator[Batch]:
        rows, t = self.data.corpus.train, self.start
        while True:
            picked = batch_rows(t, rows=len(rows), batch_size=self.data.batch_size, seed=self.data.seed)
            yield self.data.batch([rows[index] for index in picked])
            t += 1
