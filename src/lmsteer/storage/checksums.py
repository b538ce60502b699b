"""Checksums next to the files of a folder, to detect damaged files."""

import hashlib
from collections.abc import Iterable
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
    stored = _read_sums(path.parent).get(path.name)
    if stored is not None and stored != sha256_of(path):
        raise InputError(f"{path}: damaged, as its sha256 has changed; run `python -m src.fetch`")


def check_changed(folder: Path) -> None:
    """Compare those files of a folder with their checksums that changed after these were written.

    Reading a model of 540 MB takes 0.7 s, too much for every load; the time of the last change, which any write, cut
    or replacement sets, takes none. Damage that the file system does not know of is found by ``is_intact``.

    Raises:
        InputError: If a file is missing or differs.
    """
    written = _last_change(folder / SUMS)
    for name in _read_sums(folder):
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing; run `python -m src.fetch`")
        if _last_change(path) >= written:
            check_sum(path)


def is_intact(folder: Path, names: Iterable[str] = ()) -> bool:
    """Return whether a folder has checksums, of ``names`` and maybe others, and every file matches its own."""
    sums = _read_sums(folder)
    matching = all((folder / name).is_file() and sha256_of(folder / name) == sha256 for name, sha256 in sums.items())
    return bool(sums) and sums.keys() >= set(names) and matching


def _read_sums(folder: Path) -> dict[str, str]:
    """Return the stored sha256 by name of file; empty without checksums."""
    sums = folder / SUMS
    lines = sums.read_text(encoding="utf-8", errors="replace").splitlines() if sums.is_file() else []
    return {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}


def _last_change(path: Path) -> int:
    status = path.stat()
    return max(status.st_ctime_ns, status.st_mtime_ns)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
