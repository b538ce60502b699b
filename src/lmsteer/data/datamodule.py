"""Serve a corpus as a LightningDataModule: packed hidden states, targets and strengths.

Shapes: N packed tokens, D width, K dimensions.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lmsteer.data.batching import batch_rows
from lmsteer.data.corpus import Corpus
from lmsteer.data.feature_store import FeatureStore
from lmsteer.data.features import FeatureExtractor, Features
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.records import Row

PREFETCH_BATCHES = 25
"""Training batches whose hidden states are computed together; more texts give batches of more similar lengths."""


class Batch(NamedTuple):
    """A training or dev batch of packed tokens, without padding."""

    hidden_ND: Tensor
    targets_N: Tensor
    strength_NK: Tensor
    lengths_B: Tensor | None = None
    """Number of tokens of each text; texts are concatenated."""


class SteerDataModule(pl.LightningDataModule):
    """Batches of a labeled corpus for fitting a steer.

    The label of a row is its strength on the first dimension; the strength of further dimensions (the dummy) is 1.
    The data module owns the language model, through ``extract``.

    Args:
        extract: Computes or reads hidden states; a ``FeatureStore`` is filled with ``stored`` before training.
        dimensions: Number K of the steer's dimensions.
        steps: Number of training batches.
        dev_rows: Maximum number of dev rows; the first rows are used.
        store_all: Store every row of the run, not only rows that occur more than once.
        by_batch: Computes the hidden states of one training batch, if they depend on its other texts. None: ``extract``
            computes the hidden states of several batches together.
        process_group: Processes that fit together; each gets a shard of the rows of every batch.

    Raises:
        InputError: If the corpus has no training rows or a number is below 1, or there are fewer rows than processes.
    """

    def __init__(
        self,
        corpus: Corpus,
        extract: FeatureExtractor | FeatureStore,
        *,
        dimensions: int,
        batch_size: int = 32,
        steps: int = 100,
        dev_rows: int = 256,
        seed: int = 0,
        store_all: bool = False,
        by_batch: Callable[[Sequence[str]], Features] | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        if not corpus.train:
            raise InputError(f"corpus {corpus.name} has no rows to train on; at least one is needed")
        for name, value in (("batch_size", batch_size), ("dev_rows", dev_rows)):
            if value < 1:
                raise InputError(f"fit.{name}={value}: an integer of 1 or more expected")
        self.corpus, self.extract, self.store_all, self.by_batch = corpus, extract, store_all, by_batch
        self.dimensions, self.batch_size, self.steps, self.seed = dimensions, batch_size, steps, seed
        self.dev, self.process_group = corpus.dev[:dev_rows], process_group or ProcessGroup()
        for name, rows in (
            ("fit.batch_size", batch_size),
            ("train rows", len(corpus.train)),
            ("dev rows", len(self.dev)),
        ):
            if 0 < rows < self.process_group.size:
                raise InputError(f"{name}: {rows}, but {self.process_group.size} processes; one for each is needed")
        if by_batch is not None and self.process_group.size > 1:
            raise InputError(
                "fit.legacy_padding: one process expected, as padding depends on the batch; trainer=single"
            )
        self._dev_batches: list[Batch] | None = None

    def prepare_data(self) -> None:
        """Fill the store, in one process; the others wait."""
        if isinstance(self.extract, FeatureStore):
            self.extract.add(self._texts_to_store())

    def _texts_to_store(self) -> list[str]:
        counts = Counter(row.text for t in range(self.steps) for row in self.rows(t))
        dev_texts = [row.text for row in self.dev]  # read at every validation
        return [*dev_texts, *(text for text, count in counts.items() if self.store_all or count > 1)]

    def setup(self, stage: str) -> None:
        """Read the index of the store that another process has filled."""
        if isinstance(self.extract, FeatureStore):
            self.extract.shards.refresh()

    def rows(self, t: int) -> list[Row]:
        """Return the rows of training batch ``t``."""
        train = self.corpus.train
        indices = batch_rows(t, rows=len(train), batch_size=self.batch_size, seed=self.seed)
        return [train[index] for index in indices]

    def batch(self, rows: Sequence[Row]) -> Batch:
        """Compute the batch of some rows."""
        return self.batches([rows])[0]

    def batches(self, row_lists: Sequence[Sequence[Row]]) -> list[Batch]:
        """Compute several batches, with their hidden states in one call."""
        return self._split(self.extract([row.text for rows in row_lists for row in rows]), row_lists)

    def train_batches(self, steps: Iterable[int]) -> list[Batch]:
        """Compute this process' shard of the training batches of some steps."""
        row_lists = [self.process_group.shard(self.rows(t)) for t in steps]
        if self.by_batch is None:
            return self.batches(row_lists)
        return [self._split(self.by_batch([row.text for row in rows]), [rows])[0] for rows in row_lists]

    def _split(self, features: Features, row_lists: Sequence[Sequence[Row]]) -> list[Batch]:
        rows = [row for row_list in row_lists for row in row_list]
        strength_BK = torch.ones(len(rows), self.dimensions, device=features.lengths.device)
        strength_BK[:, 0] = torch.tensor([row.label for row in rows], device=features.lengths.device)
        strength_NK = strength_BK.repeat_interleave(features.lengths, dim=0)
        lengths = features.lengths.split([len(rows) for rows in row_lists])
        tokens = [int(lengths_B.sum()) for lengths_B in lengths]
        columns = (features.hidden_ND, features.targets_N, strength_NK)
        return [Batch(*split) for split in zip(*(column.split(tokens) for column in columns), lengths, strict=True)]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return training batches from the trainer's global step on."""
        start = self.trainer.global_step if self.trainer is not None else 0
        return DataLoader(_TrainBatches(self, start), batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return this process' dev batches in fixed order; their features are computed once."""
        if self._dev_batches is None:
            shard = self.process_group.shard(self.dev)
            starts = range(0, len(shard), self.batch_size)
            self._dev_batches = self.batches([shard[start : start + self.batch_size] for start in starts])
        return DataLoader(self._dev_batches, batch_size=None)  # type: ignore[arg-type]


class _TrainBatches(IterableDataset[Batch]):
    def __init__(self, data: SteerDataModule, start: int) -> None:
        self.data, self.start = data, start

    def __iter__(self) -> Iterator[Batch]:
        first = self.start - self.start % PREFETCH_BATCHES  # a resumed fit computes the same batches together
        for t in range(first, self.data.steps, PREFETCH_BATCHES):
            batches = self.data.train_batches(range(t, min(t + PREFETCH_BATCHES, self.data.steps)))
            yield from batches[max(0, self.start - t) :]
