"""Data sets of the Hugging Face hub, or local copies in the hub's formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from lmsteer.data.readers.table import Located, check_columns, part_files, read_table
from lmsteer.errors import InputError

BATCH = 1000  # rows read at a time


def hub_parts(
    id: str, *, columns: tuple[str, ...], instead: str, path: str | None = None, either: tuple[str, ...] = ()
) -> dict[str, Iterator[Located]]:
    """Rows by part (train, validation, test) of a data set, from the hub or from a local copy.

    Args:
        id: Name on the hub.
        columns: Those that are wanted.
        either: Further ones of which one is enough.
        instead: What the user may choose when the hub is out of reach; goes into the message.
        path: A folder in a layout that ``datasets.load_dataset`` knows, or one parquet file; None for the hub.

    Raises:
        InputError: If the hub or the path cannot be loaded, or a column is missing.
    """
    try:
        if path is None:
            loaded = datasets.load_dataset(id)
        elif Path(path).is_file():
            loaded = datasets.load_dataset("parquet", data_files=path)
        else:
            loaded = datasets.load_dataset(path)
    except Exception as error:  # its own, the hub client's, the network's and the parsers' errors have no common base
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        choices = f"allowed are {instead}" if path is None else "expected a data set in the hub's format"
        raise InputError(f"data set {path or id} cannot be loaded ({reason}); {choices}") from error
    for part, table in loaded.items():
        check_columns(table.column_names, columns, either, f"data set {path or id}, part {part}")
    return {str(part): _rows(table, (*columns, *either), f"{path or id}, {part}") for part, table in loaded.items()}


def _rows(table: Any, columns: tuple[str, ...], where: str) -> Iterator[Located]:
    number = 0
    columns = tuple(column for column in columns if column in table.column_names)
    for batch in table.select_columns(list(columns)).iter(batch_size=BATCH):
        for values in zip(*(batch[column] for column in columns), strict=True):
            number += 1
            yield f"{where} row {number}", dict(zip(columns, values, strict=True))


def labelled_parts(
    id: str, *, columns: tuple[str, ...], instead: str, path: str | None = None, either: tuple[str, ...] = ()
) -> dict[str, Iterator[Located]]:
    """As ``hub_parts``, with the parts named train, dev and test; a single local file is the part ``all``.

    ``path`` may also be a TSV, CSV or JSONL file, or a folder with train, dev (or validation) and test files of those.

    Raises:
        InputError: As ``hub_parts`` and ``read_table`` do, or if the path does not exist or there is no part train.
    """
    if path is not None and not Path(path).exists():
        raise InputError(f"{path} does not exist; expected a file or folder")
    files = part_files(Path(path)) if path else {}
    if files:
        return {part: read_table(file, columns=columns, either=either) for part, file in files.items()}
    if path and Path(path).is_file() and Path(path).suffix.lower() != ".parquet":
        return {"all": read_table(Path(path), columns=columns, either=either)}
    parts = hub_parts(id, columns=columns, either=either, instead=instead, path=path)
    if path and Path(path).is_file():
        return {"all": parts["train"]}
    if "train" not in parts:
        raise InputError(f"data set {path or id} has no part train; there are {', '.join(parts)}")
    return {{"validation": "dev"}.get(part, part): rows for part, rows in parts.items()}
