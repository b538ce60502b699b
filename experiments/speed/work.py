"""The sizes of the measured work, and its texts."""

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
    """The sizes of the measured work.

    Attributes:
        sentences: Training texts of the fit, all of them from the corpus.
        steps: Optimizer steps of 32 sentences.
        rank: Of the steer's factors.
        prompts: Different ones as far as the corpus has them, then the same again.
        samples: Continuations of 20 tokens per prompt.
        batch_size: Sequences decoded at once.
        texts: Prompts with continuation that are scored, if so many are written.
        fits: Times that a whole fit of lmsteer is measured.
        repeats: Times that each side of the rest is measured, in turns.
        plain_steps: Steps of the plain fit measured before, between and after the fits of lmsteer.
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
        """Texts of one run of scoring: prompts with all their continuations."""
        return max(1, min(self.texts, self.written) // self.samples) * self.samples

    @property
    def plain_prompts(self) -> int:
        """Prompts whose continuations the plain version scores in a repeat."""
        return max(1, self.plain_texts // self.samples)

    def take_sentences(self, corpus: Corpus) -> Corpus:
        """Take the first sentences of all splits of a corpus as training rows, without a dev split.

        Raises:
            InputError: If the corpus has fewer than asked for.
        """
        rows = (*corpus.train, *corpus.dev, *corpus.test, *corpus.scorer_split)
        if self.sentences > len(rows):
            raise InputError(
                f"work.sentences={self.sentences}: at most {len(rows)} expected, all that {corpus.name} has"
            )
        return Corpus(corpus.name, rows[: self.sentences])

    def take_prompts(self, corpus: Corpus) -> tuple[Prompt, ...]:
        """Take beginnings of the corpus' test rows, with ids of their own; repeated if the corpus has too few."""
        texts = [prompt.text for prompt in corpus_prefixes(corpus=corpus, n=None).prompts]
        repeated = itertools.islice(itertools.cycle(texts), self.prompts)
        return tuple(Prompt(str(number), text) for number, text in enumerate(repeated))


def draw(items: Sequence[T], count: int, *, seed: int) -> list[T]:
    """Draw items at random, so that their mean length is that of all; repeated if there are too few."""
    order = random.Random(seed).sample(items, len(items))
    return list(itertools.islice(itertools.cycle(order), count))
