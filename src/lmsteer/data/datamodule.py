"""Serve a corpus as a LightningDataModule: packed hidden states, targets and strengths.

Shapes: N packed tokens, D width, K dimensions.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple, Self

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lmsteer.data.batching import batch_rows
from lmsteer.data.corpus import Corpus
from lmsteer.data.feature_store import FeatureStore, FeatureStoreConfig
from lmsteer.data.features import FeatureExtractor, Features
from lmsteer.data.sizes import check_sizes
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.models.chat import Text
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.memory import free_memory, in_gib
from lmsteer.records import Row

PREFETCH_BATCHES = 25
"""Training batches whose hidden states are computed together; more texts give batches of more similar lengths."""
PREFETCH_TEXTS = 64 * PREFETCH_BATCHES
"""Texts of them, at most, unless a single batch has more."""
LARGE_BATCH = 1024
"""Texts of a batch whose hidden states are compared with the free memory before any work."""


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
    The data module owns the language model, and computes or reads hidden states. The number of training batches is the
    trainer's ``max_steps``.

    Args:
        dimensions: Number K of the steer's dimensions.
        batch_size: Texts of a training or dev batch.
        max_length: Maximum number of tokens used from a text.
        rows: Maximum number of training texts, chosen by seed and text and balanced by label; the choice for a smaller
            number is a subset of that for a larger one. None: use all.
        dev_rows: Maximum number of dev texts; the first rows are used.
        seed: Seed of the choice of rows and, with the step, of the batches.
        store: Feature store of hidden states, which ``prepare_data`` fills. None: compute them when they are needed.
        process_group: Processes that fit together; each gets a shard of the rows of every batch.

    Raises:
        InputError: If the corpus has no training rows or only one label, a number is out of range, there are fewer rows
            than processes, or a batch does not fit in memory.

    Example:
        >>> from lmsteer.models.random_models import tiny
        >>> corpus = Corpus("toy", train=(Row("a fine film", 1.0), Row("a dull film", -1.0)))
        >>> data = SteerDataModule(corpus, tiny(), dimensions=2, batch_size=2)
        >>> data.batch(corpus.train).strength_NK[[0, -1]].tolist()
        [[1.0, 1.0], [-1.0, 1.0]]
    """

    counts_padding: ClassVar[bool] = False
    """Whether the training loss counts padding."""

    def __init__(
        self,
        corpus: Corpus,
        model: LanguageModel,
        *,
        dimensions: int,
        batch_size: int = 32,
        max_length: int = 256,
        rows: int | None = None,
        dev_rows: int = 256,
        seed: int = 0,
        store: FeatureStoreConfig | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        if not corpus.train:
            raise InputError(f"corpus {corpus.name} has no rows to learn from; at least one is needed")
        check_sizes({"batch_size": batch_size, "dev_rows": dev_rows, "max_length": max_length, "rows": rows})
        self.source, self.corpus = corpus, corpus if rows is None else corpus.subset(rows, seed)
        self.dimensions, self.batch_size, self.seed = dimensions, batch_size, seed
        self.max_length, self.max_rows, self.dev_rows = max_length, rows, dev_rows
        self.dev, self.process_group = corpus.dev[:dev_rows], process_group or ProcessGroup()
        self.store = FeatureStoreConfig(where="off") if store is None or self.counts_padding else store
        self.extract = self.store.wrap(FeatureExtractor(model, max_length=max_length))
        self._dev_batches: list[Batch] | None = None
        self.check()

    def check(self) -> None:
        """Refuse data that no solver can fit on; called when it is built.

        Raises:
            InputError: If all labels are the same, there are fewer training rows than processes, the hidden states of
                a large batch exceed the free memory, or a question cannot be asked or leaves no room for its answer.
        """
        self.corpus.check_labels()
        self.extractor.encode(self.texts([row for row in (*self.corpus.train, *self.dev) if row.turns]))
        self._check_shards({"train rows": len(self.corpus.train)})
        if self.batch_size > LARGE_BATCH:
            self._check_memory()

    def _check_memory(self) -> None:
        model, texts = self.extract.model, self.texts(self.corpus.train[:LARGE_BATCH])
        tokens = sum(map(len, model.tokenize(texts, max_length=self.max_length))) / len(texts)
        bytes_of_text = tokens * model.width * model.head.weight.element_size()
        if self.batch_size * bytes_of_text > (free := free_memory(model.device)):
            raise InputError(
                f"data.batch_size={self.batch_size}: the hidden states of a batch take about "
                f"{in_gib(self.batch_size * bytes_of_text)}, {in_gib(free)} are free on {model.device}; "
                f"at most {int(free / bytes_of_text)} texts fit"
            )

    def _check_shards(self, counts: Mapping[str, int]) -> None:
        for name, rows in counts.items():
            if 0 < rows < self.process_group.size:
                raise InputError(f"{name}: {rows}, but {self.process_group.size} processes; one for each is needed")

    @property
    def extractor(self) -> FeatureExtractor:
        """The tokenization of texts and their passes through the model, without the store."""
        return self.extract.extract if isinstance(self.extract, FeatureStore) else self.extract

    @property
    def steps(self) -> int:
        """Number of training batches: the trainer's ``max_steps``."""
        assert self.trainer is not None
        return self.trainer.max_steps

    def with_dimensions(self, dimensions: int) -> Self:
        """Return the same data with another number of strengths a token."""
        other = copy.copy(self)
        other.dimensions, other._dev_batches = dimensions, None
        return other

    @property
    def prefetch(self) -> int:
        """Number of training batches whose hidden states are computed together."""
        return max(1, min(PREFETCH_BATCHES, PREFETCH_TEXTS // self.batch_size))

    def check_batches(self) -> None:
        """Refuse batches that have no row for some process.

        Raises:
            InputError: If a training batch or the dev rows are fewer than the processes.
        """
        self._check_shards({"data.batch_size": self.batch_size, "dev rows": len(self.dev)})

    def prepare_data(self) -> None:
        """Fill the store, in one process; the others wait."""
        if isinstance(self.extract, FeatureStore):
            self.extract.add(self._texts_to_store())

    def _texts_to_store(self) -> list[Text]:
        counts = Counter(text for t in range(self.steps) for text in self.texts(self.rows(t)))
        dev_texts = self.texts(self.dev)  # read at every validation
        return [*dev_texts, *(text for text, count in counts.items() if self.store.everything or count > 1)]

    def store_texts(self) -> None:
        """Store the hidden states of all train and dev rows for other runs, if the store takes all rows."""
        if isinstance(self.extract, FeatureStore) and self.store.everything:
            self.extract.add(self.texts([*self.corpus.train, *self.dev]))

    def setup(self, stage: str) -> None:
        """Read the index of the store that another process has filled."""
        if isinstance(self.extract, FeatureStore):
            self.extract.shards.refresh()

    def texts(self, rows: Iterable[Row]) -> list[Text]:
        """Return the texts of rows as the model reads them, with the questions that they answer."""
        return [self.extract.model.text(row) for row in rows]

    def rows(self, t: int) -> list[Row]:
        """Return the rows of training batch ``t``."""
        train = self.corpus.train
        indices = batch_rows(t, rows=len(train), batch_size=self.batch_size, seed=self.seed)
        return [train[index] for index in indices]

    def count_seen(self, steps: int) -> dict[str, int]:
        """Count the rows and tokens of the training batches of some steps, repetitions included."""
        return self.count(row for t in range(steps) for row in self.rows(t))

    def count(self, rows: Iterable[Row]) -> dict[str, int]:
        """Count rows and their tokens, as a model with this limit of length reads them."""
        counts = Counter(self.texts(rows))
        lengths = [len(text.ids) for text in self.extractor.encode(list(counts))]
        tokens = sum(length * count for length, count in zip(lengths, counts.values(), strict=True))
        return {"rows": counts.total(), "tokens": tokens}

    def batch(self, rows: Sequence[Row]) -> Batch:
        """Compute the batch of some rows."""
        return self.batches([rows])[0]

    def batches(self, row_lists: Sequence[Sequence[Row]]) -> list[Batch]:
        """Compute several batches, with their hidden states in one call."""
        return self.split(self.extract(self.texts(row for rows in row_lists for row in rows)), row_lists)

    def train_batches(self, steps: Iterable[int]) -> list[Batch]:
        """Compute this process' shard of the training batches of some steps."""
        return self.batches([self.process_group.shard(self.rows(t)) for t in steps])

    def split(self, features: Features, row_lists: Sequence[Sequence[Row]]) -> list[Batch]:
        """Split the features of several batches, whose texts are concatenated, and add the strengths."""
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
        together = self.data.prefetch
        first = self.start - self.start % together  # a resumed fit computes the same batches together
        for t in range(first, self.data.steps, together):
            batches = self.data.train_batches(range(t, min(t + together, self.data.steps)))
            yield from batches[max(0, self.start - t) :]
