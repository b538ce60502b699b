"""Checksums next to the files of a folder, to detect damaged files."""

import hashlib
from pathlib import Path

from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write_lines

SUMS = ".sha256sums"


def write_sums(folder: Path) -> None:
    """Write the sha256 of every file of a folder, in the format of ``sha256sum``."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    atomic_write_lines(folder / SUMS, [f"{sha256_of(folder / name)}  {name}" for name in names])


def check_sum(path: Path) -> None:
    """Compare a file with its stored checksum, if there is one.

    Raises:
        InputError: If they differ.
    """
    sums = path.with_name(SUMS)
    lines = sums.read_text(encoding="utf-8", errors="replace").split("\n") if sums.is_file() else []
    stored = [line.split("  ")[0] for line in lines if line.endswith(f"  {path.name}")]
    if stored and stored != [sha256_of(path)]:
        raise InputError(f"{path}: damaged, as its sha256 has changed; run `python -m src.fetch force=true`")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
