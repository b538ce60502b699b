"""Faults: what is put into a process before its command starts."""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")


@dataclass
class Snapshots:
    """Copy a folder before each change of a file in it: all that a process which is killed at any moment can leave.

    What a process has written by then is in the files, whether it lives on or not.
    """

    folder: Path
    into: Path
    _busy: bool = False
    _number: int = 0

    def __call__(self) -> None:
        self.into.mkdir()
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy or not self._changes(event, arguments):
            return
        self._busy = True
        shutil.copytree(self.folder, self.into / f"{self._number:04d}")
        self._number += 1
        self._busy = False

    def _changes(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            changes = isinstance(arguments[2], int) and bool(arguments[2] & WRITING)
        else:
            changes = event in CHANGES
        if not changes or not isinstance(arguments[0], str | bytes | os.PathLike):
            return False
        name = os.fsdecode(arguments[0])
        return name.startswith(str(self.folder)) or not os.path.isabs(name)  # relative to a folder that is emptied


@dataclass
class StopsAt:
    """Stop, as ctrl-z would, at the first file that is opened or changed once a file of the pattern is there."""

    folder: Path
    pattern: str
    _done: bool = False

    def __call__(self) -> None:
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._done and event in ("open", *CHANGES) and any(self.folder.glob(self.pattern)):
            self._done = True
            os.kill(os.getpid(), signal.SIGSTOP)


@dataclass
class Tells:
    """Make a file when a run takes its folder: from then on the command works."""

    begun: Path

    def __call__(self) -> None:
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and str(arguments[1]).endswith("config.yaml") and not self.begun.exists():
            self.begun.touch()


@dataclass
class FullDisk:
    """No room is left in a folder from the first write to a file of a certain name on, of which half still goes in.

    Args:
        full: Part of the name; "": there is room for everything.
        names: File for the names of all files that were written to.
    """

    folder: Path
    full: str
    names: Path
    _full: bool = False
    _open: Callable[..., Any] = field(default=io.open)

    def __call__(self) -> None:
        builtins.open = io.open = self._opened  # type: ignore[assignment]
        shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined]  # it would write past this

    def _opened(self, file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        inside = isinstance(file, str | os.PathLike) and str(os.fspath(file)).startswith(str(self.folder))
        if not inside or not set(mode) & set("wax+"):
            return self._open(file, mode, *rest, **more)
        with self._open(self.names, "a") as names:
            names.write(f"{Path(os.fspath(file)).name}\n")
        raw = _Raw(self, str(os.fspath(file)), mode.replace("b", "").replace("t", ""))
        buffered = io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding=more.get("encoding"), newline=more.get("newline"))

    def refuses(self, name: str) -> bool:
        """Whether this write is the last that finds room, and only for half of it."""
        return not self._full and bool(self.full) and self.full in Path(name).name


class _Raw(io.FileIO):
    def __init__(self, disk: FullDisk, name: str, mode: str) -> None:
        super().__init__(name, mode)
        self._disk = disk

    def write(self, data: Any, /) -> int:
        if self._disk.refuses(str(self.name)):
            super().write(bytes(data)[: len(data) // 2])
            self._disk._full = True
        if self._disk._full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)
