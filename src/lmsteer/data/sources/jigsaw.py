"""Jigsaw's Unintended Bias comments, as in the paper: toxic against clean, balanced."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lmsteer.data.corpus import Corpus, share_of
from lmsteer.data.readers.hub import hub_parts
from lmsteer.data.readers.table import Located, number_of, read_table
from lmsteer.errors import InputError
from lmsteer.records import Row

HUB = "google/civil_comments"
KAGGLE = ("all_data.csv", "train.csv")

_Reader = Callable[[], Iterator[Located]]


def jigsaw(*, path: str | None = None, dev: int = 2000, test: int = 2000) -> Corpus:
    """Comments with toxicity of at least .5 (label -1) against as many with toxicity 0 (label 1); the rest is dropped.

    Which clean comments, and which comments are held out, follows from a hash of the texts alone. A text that comes
    twice counts once, as toxic where it has both labels, and in ``removed``.

    Args:
        path: Kaggle's ``all_data.csv`` or ``train.csv`` or their folder, or a folder or parquet file in the format of
            ``google/civil_comments``; None for the hub.
        dev: Held-out rows for choosing the best steer, half of them toxic.
        test: Held-out rows for prompts and figures, half of them toxic.

    Raises:
        InputError: If the source cannot be loaded, a toxicity is not in [0, 1], or too few rows are left for training.
    """
    if dev < 0 or test < 0:
        raise InputError(f"data.dev={dev}, data.test={test}: numbers of rows; allowed are 0 and more")
    read, text, score = _source(path)
    chosen, duplicates = _chosen(read, text, score, dev // 2, test // 2, path or HUB)
    parts: dict[str, list[Row]] = {"train": [], "dev": [], "test": []}
    for index, (_, row) in enumerate(read()):
        if index in chosen:
            part, label = chosen[index]
            parts[part].append(Row(str(row[text]), label))
    return Corpus("jigsaw", **{part: tuple(rows) for part, rows in parts.items()}, removed={"duplicates": duplicates})


def _source(path: str | None) -> tuple[_Reader, str, str]:
    """How to read the rows, as often as needed, and the names of the columns of texts and scores."""
    if path is not None and not Path(path).exists():
        raise InputError(f"data.path: {path} does not exist; expected Kaggle's csv or a folder in the hub's format")
    table = _kaggle_file(path)
    if table is not None:
        _, first = next(iter(read_table(table, columns=("comment_text",))))
        score = "toxicity" if "toxicity" in first else "target"
        return lambda: read_table(table, columns=("comment_text", score)), "comment_text", score

    def read() -> Iterator[Located]:
        instead = "data.path=FILE-or-folder, or data=toxic-snippets, which is embedded"
        for rows in hub_parts(HUB, columns=("text", "toxicity"), instead=instead, path=path).values():
            yield from rows

    return read, "text", "toxicity"


def _kaggle_file(path: str | None) -> Path | None:
    if path is None:
        return None
    files = [Path(path)] if Path(path).is_file() else [Path(path) / name for name in KAGGLE]
    return next((file for file in files if file.is_file() and file.suffix.lower() == ".csv"), None)


def _chosen(
    read: _Reader, text: str, score: str, dev: int, test: int, source: str
) -> tuple[Mapping[int, tuple[str, float]], int]:
    """Part and label of each chosen row by its index, and the number of toxic and clean rows that repeat a text.

    Two small numbers a row are held, not the 1.8 million texts.
    """
    labels, shares = array("b"), array("d")
    for where, row in read():
        label = _label(row, text, score, where)
        labels.append(label)
        shares.append(share_of(str(row[text])) if label else math.nan)
    toxic, clean = _in_hash_order(labels, shares, -1), _in_hash_order(labels, shares, 1)
    all_shares = np.asarray(shares)
    clean = clean[~np.isin(all_shares[clean], all_shares[toxic])]
    pairs = min(len(toxic), len(clean))
    if pairs <= dev + test:
        raise InputError(
            f"{source}: {len(toxic)} toxic and {len(clean)} clean texts are too few for data.dev={2 * dev}, "
            f"data.test={2 * test} and training; more rows or smaller parts are needed"
        )
    names = ["test"] * test + ["dev"] * dev + ["train"] * (pairs - test - dev)
    ordered = ((-1.0, toxic[:pairs]), (1.0, clean[:pairs]))
    chosen = {int(i): (name, label) for label, indices in ordered for i, name in zip(indices, names, strict=True)}
    return chosen, int(np.count_nonzero(labels)) - len(toxic) - len(clean)


def _label(row: Mapping[str, object], text: str, score: str, where: str) -> int:
    """-1 toxic, 1 clean, 0 to be dropped; comments without text, which the source has, are dropped too."""
    toxicity = number_of(row, score, where)
    if not 0 <= toxicity <= 1:
        raise InputError(f"{where}: {score} is {toxicity:g}; allowed are numbers from 0 to 1")
    if not str(row[text] or "").strip():
        return 0
    return -1 if toxicity >= 0.5 else int(toxicity == 0)


def _in_hash_order(labels: array[int], shares: array[float], label: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Indices of the rows of a label, one per text, by their text's share."""
    rows = np.flatnonzero(np.asarray(labels) == label)
    _, first = np.unique(np.asarray(shares)[rows], return_index=True)
    return rows[first]
