"""An append-only folder of safetensors files, whose entries are found by key; shared by any number of processes."""

from __future__ import annotations

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
    """16 bytes that stand for some texts, in order."""
    state = hashlib.sha256()
    for part in parts:
        state.update(f"{len(part)}\n{part}".encode())
    return state.digest()[:KEY_BYTES]


class Shards:
    """Entries by key, in files that are written whole and never changed; of two entries of one key the older counts.

    The tensors of a file are mapped into memory, not read, until they are used.

    Args:
        columns: Names of the tensors that a file holds beside the keys; none: any.

    Raises:
        InputError: If the folder cannot be made, or a file in it is damaged; names it.
    """

    def __init__(self, folder: Path, columns: Sequence[str] = ()) -> None:
        self.folder, self.columns = folder, columns
        self._places: dict[bytes, tuple[dict[str, Tensor], int]] = {}
        self._seen: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror}); name another folder") from error
        self.refresh()

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __getitem__(self, key: bytes) -> tuple[dict[str, Tensor], int]:
        """The tensors of the file that holds ``key``, and the number of its entry there."""
        return self._places[key]

    def refresh(self) -> None:
        """Take up what other processes have written since."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name in self._seen:
                continue
            try:
                tensors = load_file(path)
                keys = tensors[KEYS].numpy().tobytes()
                if tensors.keys() != {KEYS, *(self.columns or tensors)}:
                    raise KeyError
            except (SafetensorError, KeyError, OSError) as error:
                raise InputError(f"{path}: damaged; delete this file, what it held is computed again") from error
            for number in range(len(keys) // KEY_BYTES):
                key = keys[number * KEY_BYTES : (number + 1) * KEY_BYTES]
                self._places.setdefault(key, (tensors, number))
            self._seen.add(path.name)

    @contextmanager
    def locked(self, *, waiting: str = "") -> Iterator[None]:
        """Be the only process that appends, after reading what others appended.

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
            for left in self.folder.glob("*.tmp"):  # by a process that was killed
                left.unlink()
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
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))
