"""Split a text into sentences by rules, in six languages, and verify their number."""

import re
from collections.abc import Sequence
from functools import partial

from lmsteer.behaviours import abbreviations
from lmsteer.behaviours.behaviour import Behaviour
from lmsteer.errors import InputError

ENDING = re.compile(r"(?P<marks>[.!?…。！？]+)(?P<closing>(?:\[\d+\]|[^\w.!?…。！？,;:–—-]|_)*)$")
"""What ends a sentence at the end of a word, with quotes, brackets, notes and signs after it."""
NO_SPACE_AFTER = re.compile(r"(?<=[。！？])(?=[^\s。！？」』）])")
SEPARATE_MARK = re.compile(r"[.!?…»”’)\]]+")
"""A token that belongs to the word before it, as French has white space before its marks."""
LIST_MARK = re.compile(r"\s*(?:[-*+•◦▪·–—>|#]+|\(?\d{1,3}[.)]|\(?[^\W\d_][.)])\s")
ENUMERATOR = re.compile(r"\d{1,2}(?:\.\d{1,2})*|[^\W\d_]|[ivx]{2,4}")
ORDINAL = re.compile(r"\d{1,2}|[ivxlc]{2,7}")
INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_])*")
OPENING = "\"'“„‘«([*_"
QUOTES = set("\"'“”„‘’«»)]」』")


def sentence_count(*, count: int) -> Behaviour:
    """Return the behaviour of texts with exactly ``count`` sentences.

    Args:
        count: Number of sentences; 1 or more.

    Raises:
        InputError: If it is below 1.

    Example:
        >>> two = sentence_count(count=2)
        >>> two.name, two.verify("Mr. Smith left at 3.14 p.m. He never came back!")
        ('sentences-2', True)
    """
    if count < 1:
        raise InputError(f"behaviour sentences: count={count}; 1 or more expected")
    return Behaviour(name=f"sentences-{count}", category="sentences", verify=partial(_has_sentences, count=count))


def split_sentences(text: str) -> list[str]:
    """Split a text into its sentences; a part without letters and digits is none.

    A sentence ends at . ! ? … before white space, at an empty line, at a list item and at a line break. The exceptions
    are those of docs/behaviours.md: abbreviations, initials, numbers, and what goes on with a small letter after an
    ellipsis, a closing quote or a line break.

    Returns:
        The sentences, with single spaces for white space.

    Example:
        >>> split_sentences("“Why?” asked Dr. Who. Nobody knew… It cost $3.50.")
        ['“Why?” asked Dr. Who.', 'Nobody knew…', 'It cost $3.50.']
    """
    is_mixed = _is_mixed(text)
    sentences: list[list[str]] = [[]]
    for line in NO_SPACE_AFTER.sub(" ", text).splitlines():
        words = _join_marks(line.split())
        if not words or LIST_MARK.match(line + " ") or _ends_at_line_break(sentences[-1], words[0], is_mixed):
            sentences.append([])
        for word in words:
            if sentences[-1] and _ends(sentences[-1], word, is_mixed):
                sentences.append([])
            sentences[-1].append(word)
    return [" ".join(words) for words in sentences if any(map(str.isalnum, "".join(words)))]


def _has_sentences(text: str, *, count: int) -> bool:
    return len(split_sentences(text)) == count


def _join_marks(tokens: list[str]) -> list[str]:
    """Join tokens that are closing marks to the word before them."""
    words: list[str] = []
    for token in tokens:
        if words and SEPARATE_MARK.fullmatch(token):
            words[-1] += f" {token}"
        else:
            words.append(token)
    return words


def _ends_at_line_break(sentence: list[str], following: str, is_mixed: bool) -> bool:
    """Return whether a sentence ends at a line break, rather than being wrapped there."""
    return bool(sentence) and not sentence[-1].endswith((",", ";")) and not (is_mixed and _is_small(following))


def _ends(sentence: list[str], following: str, is_mixed: bool) -> bool:
    """Return whether a sentence ends before the following word.

    Args:
        is_mixed: As ``_is_mixed`` says of the text.
    """
    ending = ENDING.search(sentence[-1])
    if not ending:
        return False
    goes_on = is_mixed and _is_small(following)
    marks = ending["marks"]
    if goes_on and (marks.endswith(("..", "…")) or QUOTES & set(ending["closing"])):
        return False
    return marks != "." or not _is_abbreviation(sentence, ending.start(), following, is_mixed)


def _is_abbreviation(sentence: list[str], end: int, following: str, is_mixed: bool) -> bool:
    """Return whether the full stop at ``end`` of the last word belongs to an abbreviation or a number."""
    *before, last = (word for word in sentence if any(map(str.isalnum, word)))
    stem = _bare(last[:end])
    if not before and ENUMERATOR.fullmatch(stem):
        return True
    pair = f"{_bare(before[-1])} {stem}" if before else ""
    if stem in abbreviations.INSIDE or pair in abbreviations.INSIDE:
        return True
    if stem in abbreviations.BEFORE_NUMBER and _bare(following)[:1].isdigit():
        return True
    if ORDINAL.fullmatch(stem):
        return _bare(following) in abbreviations.AFTER_ORDINALS or (is_mixed and _is_small(following))
    if stem in abbreviations.IN_ENUMERATIONS and is_mixed:
        return _is_small(following)
    others = abbreviations.AT_EITHER_PLACE | abbreviations.IN_ENUMERATIONS
    is_other = stem in others or _is_initial(last[:end].lower().lstrip(OPENING), before[-1:])
    return is_other and not _is_first_word(following, is_mixed)


def _is_initial(stem: str, before: Sequence[str]) -> bool:
    """Return whether a word without its full stop is an initial, rather than a unit (5 m, 20 °C) or the word I."""
    is_unit = len(stem) == 1 and any(word[-1].isdigit() for word in before)
    return INITIALS.fullmatch(stem) is not None and stem != "i" and not is_unit


def _is_first_word(word: str, is_mixed: bool) -> bool:
    stem = re.split("['’]", _bare(word))[0]
    if word.endswith("."):  # another initial
        return False
    if is_mixed:
        return stem in abbreviations.FIRST_WORDS | abbreviations.PREPOSITIONS and not _is_small(word)
    return stem in abbreviations.FIRST_WORDS


def _is_mixed(text: str) -> bool:
    """Return whether some words begin with a capital and some do not, so that a capital tells something."""
    firsts = [next(filter(str.isalnum, word), "") for word in text.split()]
    return any(map(str.islower, firsts)) and any(map(str.isupper, firsts))


def _is_small(word: str) -> bool:
    """Return whether the first letter or digit of a word is a small letter; ¿ and ¡ begin a sentence too."""
    return not word.startswith(("¿", "¡")) and next(filter(str.isalnum, word), "").islower()


def _bare(word: str) -> str:
    """Return a word in small letters, without the signs around it."""
    return re.sub(r"^[\W_]+|[\W_]+$", "", word).lower()
