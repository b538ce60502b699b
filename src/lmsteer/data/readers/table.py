"""Rows of TSV, CSV, JSONL and parquet files, each with its location for error messages."""

import csv
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from lmsteer.data.readers.parquet import read_parquet
from lmsteer.errors import InputError
from lmsteer.records import read_jsonl, refuse_repeated_names, refuse_special_file

logger = logging.getLogger(__name__)
SUFFIXES = (".tsv", ".csv", ".jsonl", ".parquet")
QUOTED = re.compile('"(?:[^"]|"")*"')
"""A field of TSV in which all quotation marks are doubled but the first and the last, as pandas writes it."""
LONGEST_FIELD = 2**31 - 1
"""Characters; the limit of ``csv`` is that of a C long."""
SPLIT_FILES = {"train": ("train",), "dev": ("dev", "validation", "valid", "val"), "test": ("test",)}

LocatedRow = tuple[str, Mapping[str, object]]
"""The location of a row ("FILE, line N", of parquet "FILE, row N") and its values by column."""


def read_table(
    path: Path, *, columns: tuple[str, ...], either: tuple[str, ...] = (), class_names: bool = False
) -> Iterator[LocatedRow]:
    """Read the rows of a file, whose format is given by its suffix; text is UTF-8.

    TSV and CSV start with a line of column names. In TSV quotation marks are plain characters, unless a field begins
    and ends with one and all within it are doubled. All of ``columns`` are required, and one of ``either``.

    Args:
        class_names: Of parquet, give the names of classes for their numbers.

    Raises:
        InputError: If the file cannot be read or is empty, a column is missing or named twice, or a row has more or
            fewer fields than the first line; names file and line.
    """
    refuse_special_file(path)
    suffix = path.suffix.lower()
    readers: dict[str, Callable[[Path], Iterator[tuple[int, dict[str, object]]]]] = {
        ".tsv": _read_tsv,
        ".csv": _read_csv,
        ".jsonl": read_jsonl,
        ".parquet": partial(read_parquet, class_names=class_names),
    }
    if suffix not in readers:
        raise InputError(f"{path}: unknown kind of file; allowed are {', '.join(SUFFIXES)}")
    empty = True
    try:
        for number, row in readers[suffix](path):
            empty, where = False, f"{path}, {'row' if suffix == '.parquet' else 'line'} {number}"
            check_columns(list(row), columns, either, where)
            yield where, row
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; expected a UTF-8 file") from error
    if empty:
        raise InputError(f"{path} holds no rows; expected columns {', '.join((*columns, *either[:1]))}")


def check_columns(names: Sequence[str], columns: tuple[str, ...], either: tuple[str, ...], where: str) -> None:
    """Refuse a table that lacks one of ``columns``, or all of ``either``.

    Raises:
        InputError: If a column is missing; names those of the table.
    """
    for column in columns:
        if column not in names:
            raise InputError(f"{where}: no column {column!r}; there are {', '.join(names)}")
    if either and not any(column in names for column in either):
        raise InputError(f"{where}: no column {' or '.join(map(repr, either))}; there are {', '.join(names)}")


def find_split_files(folder: Path) -> dict[str, Path]:
    """Find the files train, dev (or validation) and test of a folder, by split; empty if there is no train file.

    Raises:
        InputError: If there are two files for one split.
    """
    files: dict[str, Path] = {}
    for split, stems in SPLIT_FILES.items():
        candidates = [folder / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
        existing = [path for path in candidates if path.is_file()]
        if len(existing) > 1:
            raise InputError(f"{folder}: both {existing[0].name} and {existing[1].name}; one file per split allowed")
        if existing:
            files[split] = existing[0]
    return files if "train" in files else {}


def without_unlabeled_test(files: Mapping[str, Path], columns: tuple[str, ...]) -> dict[str, Path]:
    """Leave out a test file whose first row lacks one of ``columns``: published folders have one without labels.

    Raises:
        InputError: If the file cannot be read or is empty.
    """
    labeled = dict(files)
    if "test" in labeled:
        _, first = next(read_table(labeled["test"], columns=()))
        if missing := [column for column in columns if column not in first]:
            path = labeled.pop("test")
            logger.info("%s: no column %r, so it is left out; test rows are taken from the others", path, missing[0])
    return labeled


def get_text(row: Mapping[str, object], column: str, where: str) -> str:
    """Return the text in a column.

    Raises:
        InputError: If it is missing, not a string, or blank.
    """
    text = row.get(column)
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: {column} is {text!r}; a text that is not empty is needed")
    return text


def get_number(row: Mapping[str, object], column: str, where: str) -> float:
    """Return the number in a column.

    Raises:
        InputError: If it is missing or not a finite number.
    """
    value = row.get(column)
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: {column} is {value!r}; a number is needed") from None
    if not math.isfinite(number):
        raise InputError(f"{where}: {column} is {number:g}; a finite number is needed")
    return number


def read_jsonl_rows(path: Path) -> Iterator[LocatedRow]:
    """Read the objects of a JSONL file, each with its location.

    Raises:
        InputError: As ``read_jsonl``.
    """
    for number, row in read_jsonl(path):
        yield f"{path}, line {number}", row


def _read_tsv(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    names: list[str] = []
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            fields = [_unquote(field) for field in line.rstrip("\r\n").split("\t")]
            if names:
                yield number, _to_dict(names, fields, f"{path}, line {number}")
            else:
                names = fields
                refuse_repeated_names(names, f"{path}, line {number}")


def _unquote(field: str) -> str:
    return field[1:-1].replace('""', '"') if '""' in field[1:-1] and QUOTED.fullmatch(field) else field


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    names: list[str] = []
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for fields in reader:
                if names and fields:
                    yield reader.line_num, _to_dict(names, fields, f"{path}, line {reader.line_num}")
                elif fields:
                    names = fields
                    refuse_repeated_names(names, f"{path}, line {reader.line_num}")
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: not CSV ({error}); see RFC 4180") from error


def _to_dict(names: list[str], fields: list[str], where: str) -> dict[str, object]:
    if len(fields) != len(names):
        raise InputError(f"{where}: {len(fields)} fields; {len(names)} expected ({', '.join(names)})")
    return dict(zip(names, fields, strict=True))
