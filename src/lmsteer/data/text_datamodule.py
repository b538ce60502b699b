"""Serve the rows of a steer's batches as token ids, for methods that train inside the body of the language model.

Shapes: B texts, T tokens, N packed targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.features import pad_inputs
from lmsteer.records import Row


class TextBatch(NamedTuple):
    """Texts of a training or dev batch, padded on the right, each without its last token, which predicts nothing.

    The targets of a text are its tokens from ``starts_B`` on.
    """

    ids_BT: Tensor
    targets_N: Tensor
    lengths_B: Tensor
    """Number of targets of each text."""
    label_B: Tensor
    starts_B: Tensor


class TextDataModule(pl.LightningDataModule):
    """The batches of a ``SteerDataModule`` as token ids, so that every method sees the same rows in the same steps.

    Args:
        data: The data of the steer.
        selects: Returns whether a row is used; a batch may become empty.

    Example:
        >>> from lmsteer.data.corpus import Corpus
        >>> from lmsteer.models.random_models import tiny
        >>> corpus = Corpus("toy", train=(Row("a fine film", 1.0), Row("a dull film", -1.0)))
        >>> data = SteerDataModule(corpus, tiny(), dimensions=1, batch_size=2)
        >>> TextDataModule(data, lambda row: row.label > 0).batch(data.rows(0)).label_B.tolist()
        [1.0]
    """

    def __init__(self, data: SteerDataModule, selects: Callable[[Row], bool] = lambda row: True) -> None:
        super().__init__()
        self.data, self.selects = data, selects

    def batch(self, rows: Sequence[Row]) -> TextBatch:
        """Return the selected rows as a batch."""
        rows = [row for row in rows if self.selects(row)]
        device = self.data.extract.model.device
        encoded = self.data.extractor.encode(self.data.texts(rows))
        targets = [token for text in encoded for token in text.targets]
        return TextBatch(
            pad_inputs(encoded).to(device),
            torch.tensor(targets, dtype=torch.long, device=device),
            torch.tensor([len(text.targets) for text in encoded], dtype=torch.long),
            torch.tensor([row.label for row in rows], device=device),
            torch.tensor([text.start for text in encoded], dtype=torch.long),
        )

    def train_dataloader(self) -> DataLoader[TextBatch]:
        """Return this process' shard of the training batches, from the trainer's global step on."""
        assert self.trainer is not None
        return DataLoader(_TextBatches(self, self.trainer.global_step, self.trainer.max_steps), batch_size=None)

    def val_dataloader(self) -> DataLoader[TextBatch]:
        """Return this process' dev batches in fixed order: at least one, as validations wait for every process."""
        size = self.data.batch_size
        shard = [row for row in self.data.process_group.shard(self.data.dev) if self.selects(row)]
        batches = [self.batch(shard[start : start + size]) for start in range(0, max(1, len(shard)), size)]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


class _TextBatches(IterableDataset[TextBatch]):
    def __init__(self, texts: TextDataModule, start: int, steps: int) -> None:
        self.texts, self.start, self.steps = texts, start, steps

    def __iter__(self) -> Iterator[TextBatch]:
        data = self.texts.data
        for t in range(self.start, self.steps):
            yield self.texts.batch(data.process_group.shard(data.rows(t)))
