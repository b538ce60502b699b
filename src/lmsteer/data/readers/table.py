"""Rows of TSV, CSV and JSONL files, each with its place for error messages."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lmsteer.errors import InputError
from lmsteer.records import read_jsonl

SUFFIXES = (".tsv", ".csv", ".jsonl")
PART_FILES = {"train": ("train",), "dev": ("dev", "validation", "valid", "val"), "test": ("test",)}

Located = tuple[str, Mapping[str, object]]
"""Where a row stands ("FILE, line N") and its values by column."""


def read_table(path: Path, *, columns: tuple[str, ...], either: tuple[str, ...] = ()) -> Iterator[Located]:
    """Yield the rows of a file in UTF-8, its kind told by its suffix.

    TSV and CSV start with a line of column names. In TSV a quotation mark is a character like any other. All of
    ``columns`` are needed, and one of ``either``.

    Raises:
        InputError: If the file cannot be read or is empty, a column is missing, or a row has more or fewer fields than
            the first line; names file and line.
    """
    readers = {".tsv": _read_tsv, ".csv": _read_csv, ".jsonl": read_jsonl}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: unknown kind of file; allowed are {', '.join(SUFFIXES)}")
    empty = True
    try:
        for number, row in readers[path.suffix.lower()](path):
            empty = False
            check_columns(list(row), columns, either, f"{path}, line {number}")
            yield f"{path}, line {number}", row
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; expected a UTF-8 file") from error
    if empty:
        raise InputError(f"{path} holds no rows; expected columns {', '.join((*columns, *either[:1]))}")


def check_columns(there: Sequence[str], columns: tuple[str, ...], either: tuple[str, ...], where: str) -> None:
    """Refuse a table that lacks one of ``columns``, or all of ``either``.

    Raises:
        InputError: If it does; names the columns that are there.
    """
    for column in columns:
        if column not in there:
            raise InputError(f"{where}: no column {column!r}; there are {', '.join(there)}")
    if either and not any(column in there for column in either):
        raise InputError(f"{where}: no column {' or '.join(map(repr, either))}; there are {', '.join(there)}")


def part_files(folder: Path) -> dict[str, Path]:
    """The files train, dev (or validation) and test of a folder, by part; empty if there is no train file.

    Raises:
        InputError: If there are two files for one part.
    """
    found: dict[str, Path] = {}
    for part, stems in PART_FILES.items():
        names = [folder / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
        files = [path for path in names if path.is_file()]
        if len(files) > 1:
            raise InputError(f"{folder}: both {files[0].name} and {files[1].name}; one file per part allowed")
        if files:
            found[part] = files[0]
    return found if "train" in found else {}


def text_of(row: Mapping[str, object], column: str, where: str) -> str:
    """The text in a column.

    Raises:
        InputError: If it is missing, not a string, or blank.
    """
    text = row.get(column)
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: {column} is {text!r}; a text that is not empty is needed")
    return text


def number_of(row: Mapping[str, object], column: str, where: str) -> float:
    """The number in a column.

    Raises:
        InputError: If it is missing or not a number.
    """
    value = row.get(column)
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        return float(value)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: {column} is {value!r}; a number is needed") from None


def _read_tsv(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    names: list[str] = []
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            fields = line.rstrip("\r\n").split("\t")
            if names:
                yield number, _named(names, fields, f"{path}, line {number}")
            names = names or fields


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    names: list[str] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for fields in reader:
                if names and fields:
                    yield reader.line_num, _named(names, fields, f"{path}, line {reader.line_num}")
                names = names or fields
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: not CSV ({error}); see RFC 4180") from error


def _named(names: list[str], fields: list[str], where: str) -> dict[str, object]:
    if len(fields) != len(names):
        raise InputError(f"{where}: {len(fields)} fields; {len(names)} expected ({', '.join(names)})")
    return dict(zip(names, fields, strict=True))
