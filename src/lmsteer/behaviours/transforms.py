"""Give a text a behaviour without a model: in another case, or only its first sentences."""

import re
from collections.abc import Iterator

from lmsteer.behaviours.behaviour import Behaviour
from lmsteer.behaviours.sentences import split_sentences

FIRST = re.compile(r"[^\W_]")
"""The first letter or digit of a word."""


def transform(behaviour: Behaviour, text: str) -> str | None:
    """Return a text in the case that a behaviour asks for, or else as many of its first sentences as have it.

    The result passes the verifier: it has exactly so many sentences, or fits into a window of words. Sentences are
    joined by single spaces.

    Returns:
        The new text; None if there is none, as for a language.

    Example:
        >>> from lmsteer.behaviours import find_behaviour
        >>> transform(find_behaviour("case-title"), "They don't stop.")
        "They Don't Stop."
        >>> transform(find_behaviour("sentences-1"), "Dr. Who came. He left.")
        'Dr. Who came.'
    """
    return next(filter(behaviour.verify, _candidates(behaviour.name, text)), None)


def to_title(text: str) -> str:
    """Return a text in Title Case: each word begins with a capital and goes on in small letters.

    Example:
        >>> to_title('the "3rd" NASA film, well-known')
        'The "3rd" Nasa Film, Well-known'
    """
    return re.sub(r"\S+", lambda word: FIRST.sub(lambda first: first[0].upper(), word[0].lower(), count=1), text)


CASES = {"case-lower": str.lower, "case-upper": str.upper, "case-title": to_title}


def _candidates(name: str, text: str) -> Iterator[str]:
    """Yield changed texts, the longest first."""
    if name in CASES:
        yield CASES[name](text)
        return
    sentences = split_sentences(text)
    yield from (" ".join(sentences[:n]) for n in range(len(sentences), 0, -1))
