"""An append-only folder of safetensors files with entries by key, shared by any number of processes."""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write

logger = logging.getLogger(__name__)
KEY_BYTES = 16
KEYS = "keys"


def key_of(*parts: str) -> bytes:
    """Return a hash of 16 bytes for a sequence of texts."""
    state = hashlib.sha256()
    for part in parts:
        state.update(f"{len(part)}\n{part}".encode())
    return state.digest()[:KEY_BYTES]


class Shards:
    """Entries by key, in files that are written atomically and never changed; of two entries of a key the older counts.

    The tensors of a file are mapped into memory, and read when they are used.

    Args:
        columns: Names of the tensors of a file other than the keys; empty: any.

    Raises:
        InputError: If the folder cannot be created, or a file in it is damaged; names it.
    """

    def __init__(self, folder: Path, columns: Sequence[str] = ()) -> None:
        self.folder, self.columns = folder, columns
        self._entries: dict[bytes, tuple[dict[str, Tensor], int]] = {}
        self._seen: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be created ({error.strerror}); name another folder") from error
        self.refresh()

    def __contains__(self, key: bytes) -> bool:
        return key in self._entries

    def __getitem__(self, key: bytes) -> tuple[dict[str, Tensor], int]:
        """Return the tensors of the file with ``key``, and the index of the entry in them."""
        return self._entries[key]

    def refresh(self) -> None:
        """Read the entries that other processes have written since."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name in self._seen:
                continue
            try:
                tensors = load_file(path)
                keys = tensors[KEYS].numpy().tobytes()
                if tensors.keys() != {KEYS, *(self.columns or tensors)}:
                    raise KeyError
            except (SafetensorError, KeyError, OSError) as error:
                raise InputError(f"{path}: damaged; delete this file, its entries are computed again") from error
            for index in range(len(keys) // KEY_BYTES):
                key = keys[index * KEY_BYTES : (index + 1) * KEY_BYTES]
                self._entries.setdefault(key, (tensors, index))
            self._seen.add(path.name)

    @contextmanager
    def locked(self, *, waiting: str = "") -> Iterator[None]:
        """Lock the folder for appending, and read the entries that others appended before.

        Args:
            waiting: Message to log while another process holds the lock.
        """
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            logger.info("%s", waiting or f"waiting for another process that writes to {self.folder}")
            lock.acquire()
        try:
            for path in self.folder.glob("*.tmp"):  # left by a killed process
                path.unlink()
            self.refresh()
            yield
        finally:
            lock.release()

    def append(self, keys: Sequence[bytes], tensors: dict[str, Tensor]) -> None:
        """Add a file of entries; call it inside ``locked``."""
        name = f"{len(self._seen):06d}-{os.urandom(4).hex()}.safetensors"
        packed = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).view(-1, KEY_BYTES)
        with atomic_write(self.folder / name) as temporary:
            temporary.write_bytes(save({KEYS: packed, **tensors}))
        self.refresh()

    def size(self) -> int:
        """Return the total size of all files in bytes."""
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))
