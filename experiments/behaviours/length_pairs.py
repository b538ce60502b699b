"""Pairs of answers to the same question from which steers of length are learned."""

import itertools
import re
from collections.abc import Iterator, Sequence

from lmsteer.behaviours.sentences import split_sentences
from lmsteer.records import Generation, Row

CLAUSE = re.compile(r"(?:,| and| which| that| because| while)\s")
"""Where a sentence may end early."""
SENTENCES = 3
"""Most sentences of a short answer."""
MIN_WORDS = 4
"""Fewest words of a sentence that ends early."""


def end_of_turn_pairs(plain: Sequence[Generation]) -> Iterator[Row]:
    """Yield the first 1 to 3 sentences of each answer, label +1, and the whole longer answer, label -1.

    A row ends with the token that ends a turn.
    """
    numbers = itertools.cycle(range(1, SENTENCES + 1))
    for generation in plain:
        text = generation.texts[0]
        if len(split_sentences(text)) > SENTENCES:
            yield Row(first_sentences(text, next(numbers)), 1.0, generation.prompt.turns)
            yield Row(text, -1.0, generation.prompt.turns)


def full_stop_pairs(plain: Sequence[Generation]) -> Iterator[Row]:
    """Yield the first clause of each answer as a sentence, label +1, and its whole first sentence, label -1."""
    for generation in plain:
        first = first_sentences(generation.texts[0], 1)
        cuts = (match.start() for match in CLAUSE.finditer(first))
        cut = next((cut for cut in cuts if len(first[:cut].split()) >= MIN_WORDS), None)
        if cut is not None:
            yield Row(f"{first[:cut]}.", 1.0, generation.prompt.turns)
            yield Row(first, -1.0, generation.prompt.turns)


def first_sentences(text: str, count: int) -> str:
    """Return the beginning of a text, as it is written, that has ``count`` sentences."""
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    return max((text[:end] for end in ends if len(split_sentences(text[:end])) <= count), key=len, default="")
