"""A labeled corpus, and the one rule by which texts are split."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain, zip_longest

from lmsteer.errors import InputError
from lmsteer.records import Row

VARIATIONS = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Marks that choose between pictures of one sign, such as an emoji and a letter."""

TEXT_RULE = 2
"""Version of the rule by which texts are the same, on which all splits depend; steer files record it.

Rule 1, of earlier versions, dropped combining marks and told composed from decomposed letters: different texts in
scripts that write vowels as marks were the same, and the same text in two forms was not. Both rules agree on texts in
ASCII, and in composed letters without marks.
"""


FIRST_WORDS = 5
"""Most words of a plain text that a request has; prompts are as long."""


def normalize(text: str) -> str:
    """Return the letters, digits and combining marks of a text: composed, in lower case, without all other signs.

    Example:
        >>> normalize("Cafe\u0301, no. 7!") == normalize("caf\u00e9 no 7")
        True
    """
    if text.isascii():
        return re.sub(r"[\W_]+", "", text.lower())
    return _others().sub("", unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower()))


@cache
def _others() -> re.Pattern[str]:
    """Return the pattern of all that is neither letter nor digit nor a mark that combines with one."""
    marks = (chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
    return re.compile(rf"[^\w{''.join(mark for mark in marks if not VARIATIONS.fullmatch(mark))}]+|_+")


def text_key(text: str) -> str:
    """Return a hash that identifies a text across corpora, ignoring case, spacing and punctuation.

    The same sentence appears in several corpora with different tokenization ("Century 's", "Century's"). Accents and
    vowel signs count, whether they are composed with their letter or not.
    """
    return hashlib.sha256((normalize(text) or text).encode()).hexdigest()


def row_key(row: Row) -> str:
    """Return the key by which a row is the same as another: that of its text; of an answer, its turns and itself as is.

    Answers may differ in nothing but what the key of a text ignores, as in case. They share no split by it.
    """
    return repr((row.turns, row.text)) if row.turns else text_key(row.text)


def hash_fraction(text: str) -> float:
    """Return a number in [0, 1) from the hash of a text's key; it decides the split of the text."""
    return int(text_key(text)[:12], 16) / 16**12


def fill_request(request: str, text: str) -> str:
    """Return a request to a chat model, such as "Continue: {text}", with a text for ``{text}``."""
    return request.replace("{text}", text)


def _answer(row: Row, request: str) -> Row | None:
    """Return the rest of a text as the answer to a request with its first words; None for a text of one word."""
    if row.turns:
        return row
    words = row.text.split()
    first = min(FIRST_WORDS, len(words) // 2)
    if not first:
        return None
    return Row(" ".join(words[first:]), row.label, (("user", fill_request(request, " ".join(words[:first]))),))


@dataclass(frozen=True)
class Corpus:
    """Texts with labels in [-1, 1], in splits that share no text; rows that answer questions share no question.

    Attributes:
        train: Rows for fitting the steer.
        dev: Rows for choosing the best steer.
        test: Rows for prompts and figures.
        scorer_split: Rows for fitting scorers.
        removed: Number of rows of the source that are in no split: ``duplicates`` of a text, and ``overlaps`` with
            prompts or with texts that a scorer was fitted on.

    Example:
        >>> corpus = Corpus("toy", train=(Row("A fine film.", 1.0), Row("A bore.", -1.0)))
        >>> len(corpus.without(frozenset({text_key("a bore")})).train)
        1
    """

    name: str
    train: tuple[Row, ...]
    dev: tuple[Row, ...] = ()
    test: tuple[Row, ...] = ()
    scorer_split: tuple[Row, ...] = ()
    removed: Mapping[str, int] = field(default_factory=dict, hash=False)

    def without(self, keys: frozenset[str]) -> Corpus:
        """Return the corpus without the train and dev rows of some text keys; they count as overlaps.

        A row goes if its text or the question that it answers has one of the keys.
        """
        train, dev = (
            tuple(row for row in rows if keys.isdisjoint(map(text_key, filter(None, (row.text, row.question)))))
            for rows in (self.train, self.dev)
        )
        overlaps = len(self.train) + len(self.dev) - len(train) - len(dev)
        removed = {**self.removed, "overlaps": self.removed.get("overlaps", 0) + overlaps}
        return replace(self, train=train, dev=dev, removed=removed)

    def asked(self, request: str) -> Corpus:
        """Return the corpus with each plain text as an answer: the request has its first words, the answer the rest.

        The first words are ``FIRST_WORDS``, or half of a shorter text. Texts of one word are left out, and count as
        ``short``.

        Example:
            >>> corpus = Corpus("toy", train=(Row("We laughed and we cried all the way.", 1.0),))
            >>> corpus.asked("Go on: {text}").train[0]
            Row(text='cried all the way.', label=1.0, turns=(('user', 'Go on: We laughed and we'),))
        """
        splits = (self.train, self.dev, self.test)
        train, dev, test = (
            tuple(answer for row in rows if (answer := _answer(row, request)) is not None) for rows in splits
        )
        short = sum(map(len, splits)) - len(train) - len(dev) - len(test)
        return replace(self, train=train, dev=dev, test=test, removed={**self.removed, "short": short})

    def check_labels(self) -> None:
        """Refuse train rows whose labels are all the same, as they teach nothing.

        Raises:
            InputError: Naming the label.
        """
        labels = {row.label for row in self.train}
        if len(labels) == 1:
            raise InputError(
                f"corpus {self.name}: all {len(self.train)} train rows have the label {labels.pop():g}, from which "
                "nothing can be learned; two or more labels expected, such as -1 and 1"
            )

    def subset(self, rows: int, seed: int) -> Corpus:
        """Return the corpus with at most ``rows`` of its train rows, in their order.

        Rows are drawn by a hash of seed and text, alternating between negative, neutral and positive labels until each
        is used up. The rows for a number are a subset of those for a larger one.
        """
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for index in sorted(range(len(self.train)), key=lambda index: _order_key(seed, self.train[index])):
            label = self.train[index].label
            groups[(label > 0) - (label < 0)].append(index)
        alternating = chain.from_iterable(zip_longest(*(groups[sign] for sign in sorted(groups))))
        drawn = [index for index in alternating if index is not None][:rows]
        return replace(self, train=tuple(self.train[index] for index in sorted(drawn)))

    def digest(self) -> str:
        """Return the sha256 of all train and dev rows, in order."""
        state = hashlib.sha256()
        for row in (*self.train, *self.dev):
            state.update(f"{row.label!r}\t{row.text}\n{_turns_line(row)}".encode())
        return state.hexdigest()


def _turns_line(row: Row) -> str:
    return f"{json.dumps(row.turns)}\n" if row.turns else ""


def _order_key(seed: int, row: Row) -> bytes:
    return hashlib.sha256(f"{seed}\t{row.text}{_turns_line(row)}".encode()).digest()


def split_by_hash(name: str, rows: Iterable[Row], *, dev: float, test: float, scorer_split: float) -> Corpus:
    """Split rows by a hash of their text: the same text is in the same split in every run and corpus.

    Rows that answer a question are split by it, so that all answers to a question are in one split.

    Args:
        rows: Rows in any order; a repeated text counts once, and in ``removed``. They must not be selected by the order
            of ``text_key``: that is the same hash, and would fill a single split.
        dev: Fraction of the texts, as ``test`` and ``scorer_split``; the rest is for training.

    Raises:
        InputError: If there are no rows to train on.
    """
    splits: dict[str, list[Row]] = {"scorer_split": [], "test": [], "dev": [], "train": []}
    limits = (
        ("scorer_split", scorer_split),
        ("test", scorer_split + test),
        ("dev", scorer_split + test + dev),
        ("train", 1.0),
    )
    seen: set[str] = set()
    duplicates = 0
    for row in rows:
        key = row_key(row)
        if key in seen:
            duplicates += 1
            continue
        seen.add(key)
        fraction = hash_fraction(row.question or row.text)
        splits[next(split for split, limit in limits if fraction < limit)].append(row)
    if not splits["train"]:
        raise InputError(f"corpus {name} has no rows to train on; got {len(seen)} distinct texts")
    return Corpus(name, **{split: tuple(rows) for split, rows in splits.items()}, removed={"duplicates": duplicates})
