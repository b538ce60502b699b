"""Verify the letter case of a text."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal, get_args

from lmsteer.behaviours.behaviour import Behaviour
from lmsteer.errors import InputError

Case = Literal["lower", "upper", "title"]
RUN = re.compile(r"[^\W_]+")
"""Letters and digits without a sign between them."""
APOSTROPHES = "'’ʼ"
CONTRACTIONS = {"t", "s", "m", "d", "ll", "re", "ve"}
"""Endings of English words after an apostrophe, which stay small: Don't, but O'Brien and Dell'Arte."""


def letter_case(*, case: Case) -> Behaviour:
    """Return the behaviour of texts in small letters, in capitals or in Title Case.

    Letters without a case, digits and signs are neutral; a text needs one letter that has a case.

    Args:
        case: Small letters, capitals, or a capital at the start of every word.

    Raises:
        InputError: If the case is none of the three.

    Example:
        >>> title = letter_case(case="title")
        >>> title.name, title.verify("Don't Stop The Music"), title.verify("Don'T Stop The Music")
        ('case-title', True, False)
    """
    verifiers = {"lower": is_lower, "upper": is_upper, "title": is_title}
    if case not in verifiers:
        raise InputError(f"behaviour case: {case}; one of {', '.join(get_args(Case))} expected")
    return Behaviour(name=f"case-{case}", category="case", verify=verifiers[case])


def is_lower(text: str) -> bool:
    """Return whether all letters that have a case are small, and there is one.

    Unlike ``str.islower`` it finds no case in ª and º, which have no capital form.
    """
    letters = _cased(text)
    return bool(letters) and all(letter == letter.lower() for letter in letters)


def is_upper(text: str) -> bool:
    """Return whether all letters that have a case are capitals, and there is one.

    Unlike ``str.isupper`` it accepts ª and º, which have no capital form; ß is a small letter.

    Example:
        >>> is_upper("A 1ª VEZ"), "A 1ª VEZ".isupper()
        (True, False)
    """
    letters = _cased(text)
    return bool(letters) and all(letter == letter.upper() for letter in letters)


def is_title(text: str) -> bool:
    """Return whether every word begins with a capital and goes on in small letters.

    After a hyphen, an apostrophe or another sign inside of a word both are accepted (Well-Known, Well-known), but for
    a capital in the ending of an English contraction (Don'T). A word that begins with a digit may go on in small
    letters (3rd). Small words, acronyms and names such as McDonald have no exception.
    """
    text = unicodedata.normalize("NFC", text)  # a mark on its own would part a word
    return bool(_cased(text)) and all(_is_title_word(token) for token in text.split())


def _cased(text: Iterable[str]) -> list[str]:
    return [character for character in text if character.lower() != character.upper()]


def _is_title_word(token: str) -> bool:
    is_start = True
    for run in RUN.finditer(token):
        letters = _cased(run[0])
        is_small = [letter == letter.lower() for letter in letters]
        if not all(is_small[1:]):
            return False
        if is_start and is_small and is_small[0] and not run[0][0].isdigit():
            return False
        if is_small and not is_small[0] and not is_start and _is_contraction(token, run):
            return False
        is_start = False
    return True


def _is_contraction(token: str, run: re.Match[str]) -> bool:
    return token[run.start() - 1] in APOSTROPHES and run[0].lower() in CONTRACTIONS
