"""Files that are whole or absent under their name, whatever becomes of the process or the disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO

from lmsteer.errors import InputError


def is_complete(path: Path) -> bool:
    """Whether ``path`` is there, and thus whole; parts of it that a killed process left are removed then."""
    there = path.is_file()
    if there:
        for left in path.parent.glob(f"{escape(path.name)}.*part"):
            left.unlink(missing_ok=True)
    return there


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; what is written there takes the place of ``path`` at the end.

    Raises:
        InputError: If it cannot be written, as where the disk is full; names the file, of which nothing is left.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _unwritten(path, error) from error


@contextmanager
def appending(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to add bytes to.

    Raises:
        InputError: If it cannot be written to, as where the disk is full; names the file. What it holds stays.
    """
    try:
        with path.open("ab") as file:
            yield file
    except OSError as error:
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: OSError) -> InputError:
    reason = error.strerror or type(error).__name__
    return InputError(
        f"{path}: cannot be written ({reason}); make that possible, then the same command goes on where it stopped"
    )


def atomic_write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a temporary name beside ``path``, then rename: the file is whole or absent."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)
