"""Download a file once and check it."""

import hashlib
import http.client
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from filelock import FileLock
from tqdm.auto import tqdm

from lmsteer.errors import InputError
from lmsteer.storage.checksums import sha256_of

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 2**16


def download_file(url: str, path: Path, *, sha256: str | None, instead: str) -> Path:
    """Return ``path``, after downloading the file at ``url`` to it if it does not exist; it is complete or absent.

    Args:
        sha256: Expected checksum of the file; None: unknown.
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
        raise _refusal(url, path, error, instead) from error
    return path


def _fetch(url: str, path: Path, sha256: str | None, instead: str) -> None:
    partial = path.with_name(path.name + ".tmp")
    try:
        partial.unlink(missing_ok=True)
        digest = _copy(url, partial)
        if sha256 is not None and digest != sha256:
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


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address, which is downloaded once.

    Args:
        sha256: Expected checksum; None: unknown.
        instead: Alternative to the download, for the error messages.
    """

    url: str
    path: Path
    sha256: str | None
    instead: str = field(compare=False)

    only_fetched: ClassVar[bool] = False
    can_change: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Kind and name."""
        return f"file {self.url.rpartition('/')[2]}"

    @property
    def storage(self) -> Path:
        """Folder on whose disk it is."""
        return self.path.parent

    def is_cached(self) -> bool:
        """Return whether it is on this machine."""
        return self.path.is_file()

    def size(self) -> int | None:
        """Return its bytes as the server says; None: it does not say.

        Raises:
            InputError: If the address is out of reach.
        """
        try:
            request = urllib.request.Request(self.url, method="HEAD")
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return int(answer.headers.get("Content-Length", 0)) or None
        except (OSError, http.client.HTTPException) as error:
            raise _refusal(self.url, self.path, error, self.instead) from error

    def fetch(self, *, force: bool = False) -> Path:
        """Return its path, after downloading it if it is not there; what is at an address does not change.

        Raises:
            InputError: As ``download_file`` does.
        """
        return download_file(self.url, self.path, sha256=self.sha256, instead=self.instead)

    def record(self) -> dict[str, Any]:
        """Return address and checksum."""
        return {"url": self.url, "sha256": self.sha256 or sha256_of(self.path)}


def _refusal(url: str, path: Path, error: Exception, instead: str) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"cannot download {url} to {path.parent} ({reason}); {instead}")
