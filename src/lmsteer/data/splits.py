"""Corpora whose source has splits."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lmsteer.data.corpus import Corpus, row_key, split_by_hash
from lmsteer.errors import InputError
from lmsteer.records import Row

UNSPLIT = "all"
"""Name of the rows of a source without splits, such as a single file."""
SCORER_SPLIT, TEST, DEV = 0.20, 0.10, 0.05
"""Fractions of a source for the splits that it lacks."""


def corpus_of_splits(name: str, splits: Mapping[str, Iterable[Row]], *, scorer_split: float = 0.0) -> Corpus:
    """Build a corpus that keeps the splits train, dev and test of its source.

    A repeated text counts once, in test rather than dev, in dev rather than train, and in ``removed``. Splits that the
    source lacks are taken from its train rows by hash: test .10, dev .05, and ``scorer_split``, a fraction. A source
    without splits is split by hash: scorer_split .20, test .10, dev .05.

    Raises:
        InputError: If there are no rows to train on.
    """
    if UNSPLIT in splits:
        return split_by_hash(name, splits[UNSPLIT], scorer_split=SCORER_SPLIT, test=TEST, dev=DEV)
    seen: set[str] = set()
    rows = {split: list(splits.get(split, ())) for split in ("test", "dev", "train")}
    test, dev, train = (_unseen(split_rows, seen) for split_rows in rows.values())
    if not train:
        raise InputError(f"corpus {name} has no rows to train on that are not in dev or test as well")
    corpus = split_by_hash(name, train, scorer_split=scorer_split, test=0.0 if test else TEST, dev=0.0 if dev else DEV)
    return replace(
        corpus,
        dev=tuple(dev) or corpus.dev,
        test=tuple(test) or corpus.test,
        removed={"duplicates": sum(map(len, rows.values())) - len(seen)},
    )


def _unseen(rows: Iterable[Row], seen: set[str]) -> list[Row]:
    """Return the rows of new texts, each once, and add their keys to ``seen``."""
    new: dict[str, Row] = {}
    for row in rows:
        key = row_key(row)
        if key not in seen:
            new.setdefault(key, row)
    seen.update(new)
    return list(new.values())
