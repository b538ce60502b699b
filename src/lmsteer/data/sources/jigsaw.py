"""Jigsaw's Unintended Bias comments, as in the paper: toxic and clean, balanced."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lmsteer.data.corpus import Corpus, hash_fraction
from lmsteer.data.readers.hub import data_set, load_splits
from lmsteer.data.readers.table import LocatedRow, get_number, read_table
from lmsteer.errors import InputError
from lmsteer.records import Row
from lmsteer.storage.hub_repository import HubRepository
from lmsteer.storage.required_files import requires

HUB = "google/civil_comments"
INSTEAD = "corpus.path=FILE-or-folder, or corpus=toxic-snippets, which is embedded"
KAGGLE = ("all_data.csv", "train.csv")

_Reader = Callable[[], Iterator[LocatedRow]]


def _repository(revision: str | None = None) -> HubRepository:
    return data_set(HUB, revision, instead=INSTEAD)


@requires(lambda *, path=None, revision=None, **_: [] if path else [_repository(revision)])
def jigsaw(*, path: str | None = None, revision: str | None = None, dev: int = 2000, test: int = 2000) -> Corpus:
    """Load comments with toxicity of at least .5 (label -1) and as many with toxicity 0 (label 1); drop the others.

    The selection of clean comments and the splits depend only on a hash of the texts. A repeated text counts once, as
    toxic if it has both labels, and in ``removed``.

    Args:
        path: Kaggle's ``all_data.csv`` or ``train.csv`` or their folder, or a folder or parquet file in the format of
            ``google/civil_comments``; None: the hub.
        revision: Branch, tag or commit on the hub; None: the default branch.
        dev: Held-out rows for choosing the best steer, half of them toxic.
        test: Held-out rows for prompts and figures, half of them toxic.

    Raises:
        InputError: If the source cannot be loaded, a toxicity is not in [0, 1], or too few rows remain for training.
    """
    if dev < 0 or test < 0:
        raise InputError(f"corpus.dev={dev}, corpus.test={test}: numbers of rows; allowed are 0 and more")
    read, text, score = _open_source(path, revision)
    selected, duplicates = _select(read, text, score, dev // 2, test // 2, path or HUB)
    splits: dict[str, list[Row]] = {"train": [], "dev": [], "test": []}
    for index, (_, row) in enumerate(read()):
        if index in selected:
            split, label = selected[index]
            splits[split].append(Row(str(row[text]), label))
    return Corpus(
        "jigsaw", **{split: tuple(rows) for split, rows in splits.items()}, removed={"duplicates": duplicates}
    )


def _open_source(path: str | None, revision: str | None) -> tuple[_Reader, str, str]:
    """Return a reader of the rows, for any number of passes, and the names of the columns of texts and scores."""
    if path is not None and not Path(path).exists():
        raise InputError(f"corpus.path: {path} does not exist; expected Kaggle's csv or a folder in the hub's format")
    table = _kaggle_file(path)
    if table is not None:
        _, first = next(iter(read_table(table, columns=("comment_text",))))
        score = "toxicity" if "toxicity" in first else "target"
        return lambda: read_table(table, columns=("comment_text", score)), "comment_text", score

    def read() -> Iterator[LocatedRow]:
        for rows in load_splits(_repository(revision), columns=("text", "toxicity"), path=path).values():
            yield from rows

    return read, "text", "toxicity"


def _kaggle_file(path: str | None) -> Path | None:
    if path is None:
        return None
    files = [Path(path)] if Path(path).is_file() else [Path(path) / name for name in KAGGLE]
    return next((file for file in files if file.is_file() and file.suffix.lower() == ".csv"), None)


def _select(
    read: _Reader, text: str, score: str, dev: int, test: int, source: str
) -> tuple[Mapping[int, tuple[str, float]], int]:
    """Return split and label of each selected row by its index, and the number of rows that repeat a text.

    Only two numbers per row are held in memory, not the 1.8 million texts.
    """
    labels, fractions = array("b"), array("d")
    for where, row in read():
        label = _label(row, text, score, where)
        labels.append(label)
        fractions.append(hash_fraction(str(row[text])) if label else math.nan)
    toxic, clean = _in_hash_order(labels, fractions, -1), _in_hash_order(labels, fractions, 1)
    all_fractions = np.asarray(fractions)
    clean = clean[~np.isin(all_fractions[clean], all_fractions[toxic])]
    pairs = min(len(toxic), len(clean))
    if pairs <= dev + test:
        raise InputError(
            f"{source}: {len(toxic)} toxic and {len(clean)} clean texts are too few for corpus.dev={2 * dev}, "
            f"corpus.test={2 * test} and training; more rows or smaller splits are needed"
        )
    names = ["test"] * test + ["dev"] * dev + ["train"] * (pairs - test - dev)
    ordered = ((-1.0, toxic[:pairs]), (1.0, clean[:pairs]))
    selected = {int(i): (name, label) for label, indices in ordered for i, name in zip(indices, names, strict=True)}
    return selected, int(np.count_nonzero(labels)) - len(toxic) - len(clean)


def _label(row: Mapping[str, object], text: str, score: str, where: str) -> int:
    """Return -1 for toxic, 1 for clean, and 0 for rows to drop, such as the source's comments without text."""
    toxicity = get_number(row, score, where)
    if not 0 <= toxicity <= 1:
        raise InputError(f"{where}: {score} is {toxicity:g}; allowed are numbers from 0 to 1")
    if not str(row[text] or "").strip():
        return 0
    return -1 if toxicity >= 0.5 else int(toxicity == 0)


def _in_hash_order(labels: array[int], fractions: array[float], label: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the indices of the rows of a label, one per text, sorted by the hash fraction of their texts."""
    rows = np.flatnonzero(np.asarray(labels) == label)
    _, first = np.unique(np.asarray(fractions)[rows], return_index=True)
    return rows[first]
