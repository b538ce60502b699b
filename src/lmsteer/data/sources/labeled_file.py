"""A corpus of the user's own files."""

from collections.abc import Iterator
from pathlib import Path

from lmsteer.data.corpus import Corpus
from lmsteer.data.readers.messages import get_answered
from lmsteer.data.readers.table import find_split_files, get_number, get_text, read_table, without_unlabeled_test
from lmsteer.data.splits import SCORER_SPLIT, UNSPLIT, corpus_of_splits
from lmsteer.errors import InputError
from lmsteer.records import Row


def labeled_file(*, path: str, text: str = "text", label: str = "label") -> Corpus:
    """Read a TSV, CSV or JSONL file, or a folder with files train, dev (or validation) and test of those.

    Rows of a file without the column of texts are answers to questions: columns ``question`` and ``answer``, or
    ``messages`` in the hub's format (JSONL), of which the last one is the assistant's.

    A single file is split by hash: scorer_split .20, test .10, dev .05. A folder keeps its splits; those that it lacks
    are the same fractions of its train rows, by hash. A test file without labels is left out.

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
        raise InputError(f"corpus.path: {path} does not exist; expected a TSV, CSV or JSONL file, or a folder of those")
    files = find_split_files(source) if source.is_dir() else {UNSPLIT: source}
    if not files:
        raise InputError(f"corpus.path: folder {path} has no train.tsv, train.csv or train.jsonl")
    files = without_unlabeled_test(files, (label,))
    splits = {split: list(_read_rows(file, text, label)) for split, file in files.items()}
    return corpus_of_splits(source.stem, splits, scorer_split=SCORER_SPLIT)


def _read_rows(path: Path, text: str, label: str) -> Iterator[Row]:
    for where, row in read_table(path, columns=(label,), either=(text, "messages", "answer")):
        value = get_number(row, label, where)
        if not -1 <= value <= 1:
            raise InputError(f"{where}: {label} is {value:g}; allowed are numbers from -1 to 1")
        if text in row:
            yield Row(get_text(row, text, where), value)
        else:
            *turns, (_, answer) = get_answered(row, where)
            yield Row(answer, value, tuple(turns))
