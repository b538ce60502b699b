"""Verify the number of words of a text."""

from functools import partial

from lmsteer.behaviours.behaviour import Behaviour
from lmsteer.errors import InputError


def word_count(*, minimum: int, maximum: int) -> Behaviour:
    """Return the behaviour of texts with ``minimum`` to ``maximum`` words, both included.

    Args:
        minimum: Fewest words; 1 or more.
        maximum: Most words; ``minimum`` or more.

    Raises:
        InputError: If the window is empty or begins below 1.

    Example:
        >>> two_or_three = word_count(minimum=2, maximum=3)
        >>> two_or_three.name, two_or_three.verify("Well, well."), two_or_three.verify("Well.")
        ('words-2-3', True, False)
    """
    if not 1 <= minimum <= maximum:
        raise InputError(f"behaviour words: minimum={minimum}, maximum={maximum}; 1 <= minimum <= maximum expected")
    verify = partial(_has_words, minimum=minimum, maximum=maximum)
    return Behaviour(name=f"words-{minimum}-{maximum}", category="words", verify=verify)


def count_words(text: str) -> int:
    """Count the words of a text: the tokens between white space that have a letter or a digit.

    Example:
        >>> count_words("Well-known facts - 3.14, for instance!")
        5
    """
    return sum(any(character.isalnum() for character in token) for token in text.split())


def _has_words(text: str, *, minimum: int, maximum: int) -> bool:
    return minimum <= count_words(text) <= maximum
