"""A corpus of the user's own files."""

from pathlib import Path

from lmsteer.data.corpus import Corpus
from lmsteer.data.label_map import Other
from lmsteer.data.labeled_rows import ANSWER, LABEL, TEXT, LabeledRows
from lmsteer.data.readers.table import find_split_files, read_table, without_unlabeled_test
from lmsteer.data.splits import UNSPLIT
from lmsteer.errors import InputError


def labeled_file(
    *,
    path: str,
    text: str = TEXT,
    label: str = LABEL,
    labels: dict[str, float] | None = None,
    other: Other = "refuse",
    thresholds: list[float] | None = None,
    pairs: list[str] | None = None,
    question: str | None = None,
) -> Corpus:
    """Read a TSV, CSV, JSONL or parquet file, or a folder with files train, dev (or validation) and test of those.

    Rows of a file without the column of texts are answers to questions: columns ``question`` and ``answer``, or
    ``messages`` in the hub's format, of which the last one is the assistant's.

    A single file is split by hash: scorer_split .20, test .10, dev .05. A folder keeps its splits; those that it lacks
    are the same fractions of its train rows, by hash. A test file without labels is left out.

    Args:
        path: The file or folder; its name gives the corpus its name.
        text: Name of the column of texts.
        label: Name of the column of labels.
        labels: Number in [-1, 1] by name of a label; None: labels are such numbers.
        other: Whether rows with a label that ``labels`` does not have, or without a text, are refused or left out
            (``drop``).
        thresholds: Two numbers: a score of at most the first is the label ``low`` (-1), one of at least the second is
            ``high`` (1), and rows between them are left out; None: labels are no scores.
        pairs: Names of the columns of a preferred and of another text, which become rows of label 1 and -1; None: texts
            are labeled.
        question: Name of the column of the question that a text answers; None: there is none.

    Raises:
        InputError: If a file cannot be read, is empty or lacks a column, a text is empty, or a label is not in [-1, 1]
            or not in the map; names file and line.
    """
    rows = LabeledRows.of(
        text=text, label=label, labels=labels, other=other, thresholds=thresholds, pairs=pairs, question=question
    )
    source = Path(path)
    if not source.exists():
        raise InputError(
            f"corpus.path: {path} does not exist; expected a TSV, CSV, JSONL or parquet file, or a folder of those"
        )
    files = find_split_files(source) if source.is_dir() else {UNSPLIT: source}
    if not files:
        raise InputError(f"corpus.path: folder {path} has no train.tsv, train.csv, train.jsonl or train.parquet")
    files = without_unlabeled_test(files, rows.columns)
    either = (*rows.text_columns, ANSWER) if rows.question is None and not rows.pairs else rows.text_columns
    splits = {
        split: read_table(file, columns=rows.columns, either=either, class_names=True) for split, file in files.items()
    }
    return rows.corpus(source.stem, splits)
