"""How much work the benchmark measures, and on which texts."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from lmsteer.data.corpus import Corpus
from lmsteer.data.prompts.prompt_sets import corpus_prefixes
from lmsteer.errors import InputError
from lmsteer.records import Prompt

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Work:
    """Sizes of the measured work.

    Attributes:
        sentences: Training texts of the fit, all of them from the corpus.
        steps: Optimizer steps of 32 sentences.
        rank: Of the steer's factors.
        prompts: Distinct ones as far as the corpus has them, then the same again.
        samples: Continuations of 20 tokens per prompt.
        batch_size: Sequences decoded at once.
        texts: Prompts with continuation that are scored, if so many are written.
        fits: Times that our whole fit is measured.
        repeats: Times that each side of the rest is measured, in turns.
        plain_steps: Steps of the plain fit measured before, between and after our fits.
        plain_texts: Continuations written, and texts scored (of whole prompts), by the plain version per repeat.
    """

    sentences: int = 10000
    steps: int = 1000
    rank: int = 64
    prompts: int = 160
    samples: int = 5
    batch_size: int = 256
    texts: int = 800
    fits: int = 1
    repeats: int = 5
    plain_steps: int = 5
    plain_texts: int = 20

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise InputError(f"work.{name}={value}: an integer of 1 or more expected")

    @property
    def written(self) -> int:
        """Continuations of one run of generation."""
        return self.prompts * self.samples

    @property
    def scored(self) -> int:
        """Texts of one run of scoring: some prompts with all their continuations."""
        return max(1, min(self.texts, self.written) // self.samples) * self.samples

    @property
    def plain_prompts(self) -> int:
        """Prompts whose continuations the plain version scores in a repeat."""
        return max(1, self.plain_texts // self.samples)

    def sentences_of(self, corpus: Corpus) -> Corpus:
        """The first sentences of all parts of a corpus, as rows to train on; there is no dev loss in the benchmark.

        Raises:
            InputError: If the corpus has fewer than asked for.
        """
        rows = (*corpus.train, *corpus.dev, *corpus.test, *corpus.scorer_split)
        if self.sentences > len(rows):
            raise InputError(
                f"work.sentences={self.sentences}: at most {len(rows)} expected, all that {corpus.name} has"
            )
        return Corpus(corpus.name, rows[: self.sentences])

    def prompts_of(self, corpus: Corpus) -> tuple[Prompt, ...]:
        """Beginnings of the corpus' test rows, with ids of their own."""
        found = corpus_prefixes(corpus=corpus, n=None).prompts
        texts = itertools.islice(itertools.cycle(prompt.text for prompt in found), self.prompts)
        return tuple(Prompt(str(number), text) for number, text in enumerate(texts))

    def some(self, items: Sequence[T], count: int, *, seed: int) -> list[T]:
        """So many items at random, so that they are as long as all are on average; again from the first if too few."""
        order = random.Random(seed).sample(items, len(items))
        return list(itertools.islice(itertools.cycle(order), count))
