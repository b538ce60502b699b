"""A corpus of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lmsteer.data.corpus import Corpus
from lmsteer.data.readers.table import number_of, part_files, read_table, text_of
from lmsteer.data.splits import SCORER_SPLIT, WHOLE, corpus_of_parts
from lmsteer.errors import InputError
from lmsteer.records import Row


def file(*, path: str, text: str = "text", label: str = "label") -> Corpus:
    """Rows of a TSV, CSV or JSONL file, or of a folder with files train, dev (or validation) and test of those.

    A single file is parted by hash: scorer_split .20, test .10, dev .05. A folder keeps its parts; the scorer_split, and test or dev
    where it has none, get the same shares of its train rows, by hash.

    Args:
        path: The file or folder; its name gives the corpus its name.
        text: Name of the column of texts.
        label: Name of the column of labels, numbers in [-1, 1].

    Raises:
        InputError: If a file cannot be read, is empty or lacks a column, a text is empty, or a label is not in [-1, 1];
            names file and line.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"data.path: {path} does not exist; expected a TSV, CSV or JSONL file, or a folder of those")
    files = part_files(source) if source.is_dir() else {WHOLE: source}
    if not files:
        raise InputError(f"data.path: folder {path} has no train.tsv, train.csv or train.jsonl")
    parts = {part: list(_rows(found, text, label)) for part, found in files.items()}
    return corpus_of_parts(source.stem, parts, scorer_split=SCORER_SPLIT)


def _rows(path: Path, text: str, label: str) -> Iterator[Row]:
    for where, row in read_table(path, columns=(text, label)):
        value = number_of(row, label, where)
        if not -1 <= value <= 1:
            raise InputError(f"{where}: {label} is {value:g}; allowed are numbers from -1 to 1")
        yield Row(text_of(row, text, where), value)
