"""Corpora whose source has parts of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lmsteer.data.corpus import Corpus, split_by_hash, text_key
from lmsteer.errors import InputError
from lmsteer.records import Row

WHOLE = "all"
"""Name of the only part of a source that has none, such as a single file."""
SCORER_SPLIT, TEST, DEV = 0.20, 0.10, 0.05
"""Shares of a source for the parts it lacks."""


def corpus_of_parts(name: str, parts: Mapping[str, Iterable[Row]], *, scorer_split: float = 0.0) -> Corpus:
    """A corpus that keeps the parts train, dev and test of its source.

    A text that comes twice counts once, in test rather than dev, in dev rather than train, and in ``removed``. What the
    source lacks is taken out of its train rows by hash: test .10, dev .05, and ``scorer_split``, a share. A source of one part
    is parted by hash: scorer_split .20, test .10, dev .05.

    Raises:
        InputError: If no row is left for training.
    """
    if WHOLE in parts:
        return split_by_hash(name, parts[WHOLE], scorer_split=SCORER_SPLIT, test=TEST, dev=DEV)
    seen: set[str] = set()
    rows = {part: list(parts.get(part, ())) for part in ("test", "dev", "train")}
    test, dev, train = (_unseen(found, seen) for found in rows.values())
    if not train:
        raise InputError(f"corpus {name} has no rows to train on that are not in dev or test as well")
    split = split_by_hash(name, train, scorer_split=scorer_split, test=0.0 if test else TEST, dev=0.0 if dev else DEV)
    return replace(
        split,
        dev=tuple(dev) or split.dev,
        test=tuple(test) or split.test,
        removed={"duplicates": sum(map(len, rows.values())) - len(seen)},
    )


def _unseen(rows: Iterable[Row], seen: set[str]) -> list[Row]:
    new: dict[str, Row] = {}
    for row in rows:
        key = text_key(row.text)
        if key not in seen:
            new.setdefault(key, row)
    seen.update(new)
    return list(new.values())
