"""A labelled corpus and the one rule by which texts are parted."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest

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

    ``train`` and ``dev`` are for the steer, ``test`` for prompts and figures, ``scorer_split`` for fitting scorers.
    ``removed`` counts rows of the source that are in no part: ``duplicates`` of a text that is in one, or that had two
    labels, and ``overlaps`` with prompts or with texts that a scorer was fitted on.
    """

    name: str
    train: tuple[Row, ...]
    dev: tuple[Row, ...] = ()
    test: tuple[Row, ...] = ()
    scorer_split: tuple[Row, ...] = ()
    removed: Mapping[str, int] = field(default_factory=dict, hash=False)

    def without(self, keys: frozenset[str]) -> Corpus:
        """The corpus less the train and dev rows whose ``text_key`` is in ``keys``; they count as overlaps."""
        train = tuple(row for row in self.train if text_key(row.text) not in keys)
        dev = tuple(row for row in self.dev if text_key(row.text) not in keys)
        overlaps = len(self.train) + len(self.dev) - len(train) - len(dev)
        removed = {**self.removed, "overlaps": self.removed.get("overlaps", 0) + overlaps}
        return replace(self, train=train, dev=dev, removed=removed)

    def subset(self, rows: int, seed: int) -> Corpus:
        """The corpus with at most ``rows`` of its train rows, in their order.

        Rows are drawn by a hash of seed and text, negative, neutral and positive labels in turn as long as each lasts.
        What is drawn for a number is part of what is drawn for a larger one.
        """
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for index in sorted(range(len(self.train)), key=lambda index: _drawn(seed, self.train[index].text)):
            label = self.train[index].label
            groups[(label > 0) - (label < 0)].append(index)
        turns = chain.from_iterable(zip_longest(*(groups[sign] for sign in sorted(groups))))
        drawn = [index for index in turns if index is not None][:rows]
        return replace(self, train=tuple(self.train[index] for index in sorted(drawn)))

    def digest(self) -> str:
        """sha256 of all train and dev rows, in order."""
        state = hashlib.sha256()
        for row in (*self.train, *self.dev):
            state.update(f"{row.label!r}\t{row.text}\n".encode())
        return state.hexdigest()


def _drawn(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}\t{text}".encode()).digest()


def split_by_hash(name: str, rows: Iterable[Row], *, dev: float, test: float, scorer_split: float) -> Corpus:
    """Part rows by a hash of their text: the same text is in the same part in every run and corpus.

    Shares are fractions of the texts; what is left of 1 is for training. A text that comes twice counts once, and in
    ``removed``. The rows must not be a selection in the order of ``text_key``: that is the same hash, and would fill
    one part alone.
    """
    parts: dict[str, list[Row]] = {"scorer_split": [], "test": [], "dev": [], "train": []}
    seen: set[str] = set()
    duplicates = 0
    for row in rows:
        key = text_key(row.text)
        if key in seen:
            duplicates += 1
            continue
        seen.add(key)
        share = share_of(row.text)
        limits = (
            ("scorer_split", scorer_split),
            ("test", scorer_split + test),
            ("dev", scorer_split + test + dev),
            ("train", 1.0),
        )
        part = next(part for part, limit in limits if share < limit)
        parts[part].append(row)
    if not parts["train"]:
        raise InputError(f"corpus {name} has no rows to train on; got {len(seen)} distinct texts")
    return Corpus(name, **{part: tuple(rows) for part, rows in parts.items()}, removed={"duplicates": duplicates})
