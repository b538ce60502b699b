"""Download a file once and check it."""

import hashlib
import http.client
import urllib.request
from pathlib import Path

from filelock import FileLock
from tqdm.auto import tqdm

from lmsteer.errors import InputError

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 2**16


def download_file(url: str, path: Path, *, sha256: str, instead: str) -> Path:
    """Return ``path``, after downloading the file at ``url`` to it if it does not exist; it is complete or absent.

    Args:
        sha256: Expected checksum of the file.
        instead: Alternative to the download, for the error messages.

    Raises:
        InputError: If the address is out of reach, ``path`` cannot be written, or the checksum is wrong.
    """
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock"):
            if not path.is_file():
                _fetch(url, path, sha256, instead)
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot download {url} to {path.parent} ({reason}); {instead}") from error
    return path


def _fetch(url: str, path: Path, sha256: str, instead: str) -> None:
    partial = path.with_name(path.name + ".tmp")
    try:
        partial.unlink(missing_ok=True)
        digest = _copy(url, partial)
        if digest != sha256:
            raise InputError(f"{url}: sha256 is {digest}, expected {sha256}; nothing of it is kept; {instead}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _copy(url: str, path: Path) -> str:
    """Download to a new file, never through a link, and return the sha256."""
    state = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, path.open("xb") as file:
        size = int(answer.headers.get("Content-Length", 0)) or None
        with tqdm(total=size, unit="B", unit_scale=True, desc=path.stem) as progress:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                state.update(chunk)
                progress.update(len(chunk))
    return state.hexdigest()
