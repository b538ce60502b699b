"""The behaviours of "Compositional Steering" (arXiv 2601.05062), those held out, and their combinations."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from lmsteer.behaviours.behaviour import Behaviour
from lmsteer.behaviours.language import in_language
from lmsteer.behaviours.letter_case import letter_case
from lmsteer.behaviours.sentences import sentence_count
from lmsteer.behaviours.word_count import word_count
from lmsteer.errors import InputError

CATEGORIES = MappingProxyType(
    {
        "language": ("language-es", "language-fr", "language-it", "language-pt", "language-de"),
        "words": ("words-10-50", "words-50-70", "words-70-90", "words-90-120"),
        "case": ("case-lower", "case-upper", "case-title"),
        "sentences": ("sentences-1", "sentences-2", "sentences-3", "sentences-4", "sentences-5"),
    }
)
"""Names of the published behaviours, by category."""
NAMES = tuple(itertools.chain(*CATEGORIES.values()))
"""Names of the 17 published behaviours."""
HELD_OUT = frozenset({"language-de", "words-70-90", "case-title", "sentences-3"})
"""Names of those that the paper holds out: one of each category."""


@dataclass(frozen=True)
class Combinations:
    """Combinations of published behaviours, each a tuple of names in the order of the categories.

    Attributes:
        seen: Those without a behaviour that is held out.
        unseen: Those with one or more.
    """

    seen: tuple[tuple[str, ...], ...]
    unseen: tuple[tuple[str, ...], ...]


def verify(name: str, text: str) -> bool:
    """Return whether a text has a published behaviour; an empty text has none.

    Args:
        name: Name of the behaviour, as in ``NAMES``.
        text: The text.

    Raises:
        InputError: If there is no such behaviour.
        MissingExtraError: If a language is to be verified and py3langid is not installed.

    Example:
        >>> verify("sentences-2", "Dr. Smith is late. He always is.")
        True
        >>> verify("case-title", "Don'T Stop")
        False
    """
    return find_behaviour(name).verify(text)


def find_behaviour(name: str) -> Behaviour:
    """Return the published behaviour of a name.

    Args:
        name: Name of the behaviour, as in ``NAMES``.

    Raises:
        InputError: If there is no such behaviour.

    Example:
        >>> find_behaviour("words-10-50").category
        'words'
    """
    behaviours = _published()
    if name not in behaviours:
        raise InputError(f"behaviour {name!r}: unknown; allowed are {', '.join(NAMES)}")
    return behaviours[name]


def combinations(k: int) -> Combinations:
    """Return the combinations of ``k`` behaviours of different categories.

    Args:
        k: Number of behaviours, 1 to 4; the paper has pairs and triples.

    Raises:
        InputError: If ``k`` is out of range.

    Example:
        >>> pairs = combinations(2)
        >>> len(pairs.seen), len(pairs.unseen), pairs.seen[0]
        (62, 45, ('language-es', 'words-10-50'))
    """
    if not 1 <= k <= len(CATEGORIES):
        raise InputError(f"combinations of {k} behaviours: 1 to {len(CATEGORIES)} expected")
    every = [
        names
        for categories in itertools.combinations(CATEGORIES.values(), k)
        for names in itertools.product(*categories)
    ]
    return Combinations(
        seen=tuple(names for names in every if HELD_OUT.isdisjoint(names)),
        unseen=tuple(names for names in every if not HELD_OUT.isdisjoint(names)),
    )


@cache
def _published() -> dict[str, Behaviour]:
    return {behaviour.name: behaviour for behaviour in _build_published()}


def _build_published() -> Iterator[Behaviour]:
    yield from (in_language(code=code) for code in ("es", "fr", "it", "pt", "de"))
    yield from (word_count(minimum=low, maximum=high) for low, high in ((10, 50), (50, 70), (70, 90), (90, 120)))
    yield from (letter_case(case=case) for case in ("lower", "upper", "title"))
    yield from (sentence_count(count=count) for count in range(1, 6))
