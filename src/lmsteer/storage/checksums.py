"""Checksums beside the files of a folder, by which a file that was damaged since is known."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write_lines

SUMS = ".sha256sums"


def write_sums(folder: Path) -> None:
    """Note the sha256 of every file of a folder, as ``sha256sum`` would."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    atomic_write_lines(folder / SUMS, [f"{_sum(folder / name)}  {name}" for name in names])


def check_sum(path: Path) -> None:
    """Compare a file with the checksum that was noted, if one was.

    Raises:
        InputError: If they differ.
    """
    sums = path.with_name(SUMS)
    lines = sums.read_text(encoding="utf-8", errors="replace").split("\n") if sums.is_file() else []
    noted = [line.split("  ")[0] for line in lines if line.endswith(f"  {path.name}")]
    if noted and noted != [_sum(path)]:
        raise InputError(f"{path}: damaged, as its sha256 has changed; run `python -m src.fetch --force`")


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
