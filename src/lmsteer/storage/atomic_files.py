"""Write files atomically: complete or absent under their name, even if the process is killed or the disk is full."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lmsteer.errors import InputError


def batch_folder(path: Path) -> Path:
    """Return the folder in which the finished batches of ``path`` are collected until it is complete."""
    return path.with_name(f"{path.name}.batches")


def is_complete(path: Path) -> bool:
    """Return whether ``path`` exists, and so is complete; if so, remove the batches that a killed process left."""
    exists = path.is_file()
    if exists:
        shutil.rmtree(batch_folder(path), ignore_errors=True)
    return exists


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file next to ``path``, which is renamed to ``path`` at the end.

    It is a new file: what lies under the temporary name is removed first, and a link there is not followed.

    Raises:
        InputError: If it cannot be written, for instance on a full disk; nothing of the file is left then.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.unlink(missing_ok=True)
        temporary.touch(exist_ok=False)
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"{path}: cannot be written ({reason}); make that possible, then run the same command to continue"
        ) from error


def atomic_write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines to ``path`` atomically."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)
