"""Data sets of the Hugging Face hub, or local copies in the hub's formats."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets

from lmsteer.data.readers.parquet import ROWS_PER_READ, with_class_names
from lmsteer.data.readers.table import (
    SPLIT_FILES,
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


def data_set(id: str, revision: str | None, *, instead: str, subset: str = "") -> HubRepository:
    """Return a data set of the hub.

    Args:
        instead: What the user may choose when it cannot be had; part of the message.
        subset: One of its subsets, whose tables are those in a folder of its name, if there is one; empty: it has none.
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
    loaded = _load(repository, path)
    return _located(loaded, loaded, path or repository.id, columns, either)


def _load(repository: HubRepository, path: str | None) -> Mapping[str, Any]:
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
    return {str(split): table for split, table in loaded.items()}


def _located(
    tables: Mapping[str, Any],
    splits: Collection[str],
    name: str,
    columns: tuple[str, ...],
    either: tuple[str, ...],
    *,
    class_names: bool = False,
) -> dict[str, Iterator[LocatedRow]]:
    """Return the rows of some splits, once their columns are checked."""
    needed = (*columns, *either)
    for split in splits:
        where, names = f"data set {name}, split {split}", tables[split].column_names
        check_columns(names, columns, either, where)
        # ``datasets`` names the second of two equal columns of a CSV file NAME.1.
        refuse_repeated_names([name.removesuffix(".1") for name in names if name.removesuffix(".1") in needed], where)
    return {split: _rows(tables[split], needed, f"{name}, {split}", class_names) for split in splits}


def _rows(table: Any, columns: tuple[str, ...], where: str, class_names: bool) -> Iterator[LocatedRow]:
    number = 0
    columns = tuple(column for column in columns if column in table.column_names)
    features = {column: table.features[column] for column in columns}
    names = {column: kind.names for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)}
    for batch in table.select_columns(list(columns)).iter(batch_size=ROWS_PER_READ):
        for values in zip(*(batch[column] for column in columns), strict=True):
            number += 1
            row = dict(zip(columns, values, strict=True))
            yield f"{where} row {number}", with_class_names(row, names) if class_names else row


def load_named_splits(
    repository: HubRepository, splits: Mapping[str, str] | None, *, columns: tuple[str, ...], either: tuple[str, ...]
) -> dict[str, Iterator[LocatedRow]]:
    """Load the rows of a data set of the hub by split (train, dev, test), with the names of classes for their numbers.

    Args:
        splits: Names in the data set of train, dev and test; None: train, dev (or validation) and test, as far as it
            has them.

    Raises:
        InputError: As ``load_splits``, or if there is no such split.
    """
    tables = _load(repository, None)
    if splits is None:
        candidates = {split: [name for name in names if name in tables] for split, names in SPLIT_FILES.items()}
        splits = {split: names[0] for split, names in candidates.items() if names}
    missing = [name for name in splits.values() if name not in tables] or ["train"] * ("train" not in splits)
    if missing:
        raise InputError(
            f"data set {repository.id} has no split {missing[0]}; there are {', '.join(tables)}: name them by "
            "corpus.splits={train: NAME, …}"
        )
    located = _located(tables, [*splits.values()], repository.id, columns, either, class_names=True)
    return {split: located[name] for split, name in splits.items()}


def load_labeled_splits(
    repository: HubRepository, *, columns: tuple[str, ...], path: str | None = None, either: tuple[str, ...] = ()
) -> dict[str, Iterator[LocatedRow]]:
    """Load the rows of a data set by split (train, dev, test), as ``load_splits`` does; one local file is unsplit.

    ``path`` may also be a TSV, CSV, JSONL or parquet file, or a folder with train, dev (or validation) and test files
    of those. A test file that lacks one of ``columns`` is left out: published folders have a test part without labels.

    Raises:
        InputError: As ``load_splits`` and ``read_table`` do, or if the path does not exist or there is no split train.
    """
    if path is not None and not Path(path).exists():
        raise InputError(f"{path} does not exist; expected a file or folder")
    files = find_split_files(Path(path)) if path else {}
    if path and Path(path).is_file():
        files = {UNSPLIT: Path(path)}
    if files:
        files = without_unlabeled_test(files, columns)
        return {split: read_table(file, columns=columns, either=either) for split, file in files.items()}
    splits = load_splits(repository, columns=columns, either=either, path=path)
    if "train" not in splits:
        raise InputError(f"data set {path or repository.id} has no split train; there are {', '.join(splits)}")
    return {{"validation": "dev"}.get(split, split): rows for split, rows in splits.items()}
