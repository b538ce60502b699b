"""A labelled corpus and the one rule by which texts are parted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lmsteer.errors import InputError
from lmsteer.records import Row


def normalized(text: str) -> str:
    """The letters and digits of a text in lower case, without case, spacing and punctuation."""
    return re.sub(r"[\W_]+", "", text.lower())


def text_key(text: str) -> str:
    """Identity of a text across corpora: case, spacing and punctuation do not count.

    The same sentence appears in several corpora with other tokenization ("Century 's", "Century's").
    """
    return hashlib.sha256((normalized(text) or text).encode()).hexdigest()


def share_of(text: str) -> float:
    """A fixed number in [0, 1) drawn from the text's key; what decides the part a text belongs to."""
    return int(text_key(text)[:12], 16) / 16**12


@dataclass(frozen=True)
class Corpus:
    """Texts with labels in [-1, 1], in parts that share no text.

    ``train`` and ``dev`` are for the steer, ``test`` for prompts and figures, ``judge`` for fitting scorers.
    """

    name: str
    train: tuple[Row, ...]
    dev: tuple[Row, ...] = ()
    test: tuple[Row, ...] = ()
    judge: tuple[Row, ...] = ()

    def without(self, keys: frozenset[str]) -> Corpus:
        """The corpus less the train and dev rows whose ``text_key`` is in ``keys``."""
        train = tuple(row for row in self.train if text_key(row.text) not in keys)
        dev = tuple(row for row in self.dev if text_key(row.text) not in keys)
        return replace(self, train=train, dev=dev)

    def digest(self) -> str:
        """sha256 of all train and dev rows, in order."""
        state = hashlib.sha256()
        for row in (*self.train, *self.dev):
            state.update(f"{row.label!r}\t{row.text}\n".encode())
        return state.hexdigest()


def split_by_hash(name: str, rows: Iterable[Row], *, dev: float, test: float, judge: float) -> Corpus:
    """Part rows by a hash of their text: the same text is in the same part in every run and corpus.

    Shares are fractions of the texts; what is left of 1 is for training. A text that comes twice counts once.
    The rows must not be a selection in the order of ``text_key``: that is the same hash, and would fill one part alone.
    """
    parts: dict[str, list[Row]] = {"judge": [], "test": [], "dev": [], "train": []}
    seen: set[str] = set()
    for row in rows:
        key = text_key(row.text)
        if key in seen:
            continue
        seen.add(key)
        share = share_of(row.text)
        limits = (("judge", judge), ("test", judge + test), ("dev", judge + test + dev), ("train", 1.0))
        part = next(part for part, limit in limits if share < limit)
        parts[part].append(row)
    if not parts["train"]:
        raise InputError(f"corpus {name} has no rows to train on; got {len(seen)} distinct texts")
    return Corpus(name, **{part: tuple(rows) for part, rows in parts.items()})
