"""Data sets of the Hugging Face hub, or local copies in the hub's formats."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from lmsteer.data.readers.table import (
    LocatedRow,
    check_columns,
    find_split_files,
    read_table,
    without_unlabeled_test,
)
from lmsteer.data.splits import UNSPLIT
from lmsteer.errors import InputError
from lmsteer.records import refuse_repeated_names
from lmsteer.storage.hub_errors import LONGEST_REASON
from lmsteer.storage.hub_repository import HubRepository

ROWS_PER_READ = 1000


def data_set(id: str, revision: str | None, *, instead: str, subset: str = "") -> HubRepository:
    """Return a data set of the hub.

    Args:
        instead: What the user may choose when it cannot be had; part of the message.
        subset: One of its subsets, which has a folder of its name; empty: it has none.
    """
    return HubRepository(id, "dataset", revision, subset=subset, noun="data set", instead=instead)


def load_splits(
    repository: HubRepository, *, columns: tuple[str, ...], path: str | None = None, either: tuple[str, ...] = ()
) -> dict[str, Iterator[LocatedRow]]:
    """Load the rows of a data set by split (train, validation, test), from the hub or from a local copy.

    The files of the hub are downloaded once and read from its cache, so that a node without a network can read them.

    Args:
        columns: Required columns.
        either: Further columns, of which one is required.
        path: A folder in a layout that ``datasets.load_dataset`` supports, or one parquet file; None: the hub.

    Raises:
        InputError: If the hub or the path cannot be loaded, or a column is missing or named twice.
    """
    folder = str(repository.fetch().folder) if path is None else path
    try:
        if Path(folder).is_file():
            loaded = datasets.load_dataset("parquet", data_files=folder)
        else:
            loaded = datasets.load_dataset(folder, repository.subset or None)
    except Exception as error:  # its errors, the hub client's, the network's and the parsers' have no common base
        reason = " ".join(str(error.__cause__ or error).split())[:LONGEST_REASON] or type(error).__name__
        choices = f"allowed are {repository.instead}" if path is None else "expected a data set in the hub's format"
        raise InputError(f"data set {path or repository.id} cannot be loaded ({reason}); {choices}") from error
    name = path or repository.id
    for split, table in loaded.items():
        where, names = f"data set {name}, split {split}", table.column_names
        check_columns(names, columns, either, where)
        # ``datasets`` names the second of two equal columns of a CSV file NAME.1.
        needed = (*columns, *either)
        refuse_repeated_names([name.removesuffix(".1") for name in names if name.removesuffix(".1") in needed], where)
    return {str(split): _rows(table, (*columns, *either), f"{name}, {split}") for split, table in loaded.items()}


def _rows(table: Any, columns: tuple[str, ...], where: str) -> Iterator[LocatedRow]:
    number = 0
    columns = tuple(column for column in columns if column in table.column_names)
    for batch in table.select_columns(list(columns)).iter(batch_size=ROWS_PER_READ):
        for values in zip(*(batch[column] for column in columns), strict=True):
            number += 1
            yield f"{where} row {number}", dict(zip(columns, values, strict=True))


def load_labeled_splits(
    repository: HubRepository, *, columns: tuple[str, ...], path: str | None = None, either: tuple[str, ...] = ()
) -> dict[str, Iterator[LocatedRow]]:
    """Load the rows of a data set by split (train, dev, test), as ``load_splits`` does; one local file is unsplit.

    ``path`` may also be a TSV, CSV or JSONL file, or a folder with train, dev (or validation) and test files of those.
    A test file that lacks one of ``columns`` is left out: published folders have a test part without labels.

    Raises:
        InputError: As ``load_splits`` and ``read_table`` do, or if the path does not exist or there is no split train.
    """
    if path is not None and not Path(path).exists():
        raise InputError(f"{path} does not exist; expected a file or folder")
    files = find_split_files(Path(path)) if path else {}
    if path and Path(path).is_file() and Path(path).suffix.lower() != ".parquet":
        files = {UNSPLIT: Path(path)}
    if files:
        files = without_unlabeled_test(files, columns)
        return {split: read_table(file, columns=columns, either=either) for split, file in files.items()}
    splits = load_splits(repository, columns=columns, either=either, path=path)
    if path and Path(path).is_file():
        return {UNSPLIT: splits["train"]}
    if "train" not in splits:
        raise InputError(f"data set {path or repository.id} has no split train; there are {', '.join(splits)}")
    return {{"validation": "dev"}.get(split, split): rows for split, rows in splits.items()}
