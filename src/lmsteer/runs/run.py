"""A run folder: one configuration, its results, and what of them is finished.

A stage is finished when its file stands under its final name: files are written under a temporary one and renamed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

from filelock import FileLock, Timeout

from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write_lines, is_complete

CONFIG = "config.yaml"
LOCK = ".lock"


class Run:
    """A folder for one configuration (its resolved YAML text).

    A new or empty folder is taken; one with the same configuration goes on where it stopped. Nothing is written before
    ``begin``, from which on other commands are kept out. Of several processes the first writes, and the others see what
    it sees.

    Args:
        world: The processes that do this run; all of them call its methods.

    Raises:
        InputError: If the folder holds anything else; it is left untouched.
    """

    def __init__(self, folder: Path, config: str, process_group: ProcessGroup | None = None) -> None:
        self.folder, self.config, self.process_group = folder, config, process_group or ProcessGroup()
        # One for all runs of this process in this folder; it is released with the last of them.
        self._lock = FileLock(folder / LOCK, is_singleton=True, thread_local=False)
        if self.process_group.is_rank_zero:
            self._check()

    def _check(self) -> None:
        folder, config = self.folder, self.config
        if folder.exists() and not folder.is_dir():
            raise InputError(f"run folder {folder}: a file has that name; choose another hydra.run.dir")
        if self.path(CONFIG).is_file():
            held = self.path(CONFIG).read_text(encoding="utf-8", errors="replace")
            if not _same(held, config):
                raise InputError(
                    f"run folder {folder}: holds a run with another configuration ({_difference(held, config)}); "
                    "choose another hydra.run.dir"
                )
            self.config = held  # with the digests of files that are gone
            return
        found = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
        if foreign := [name for name in found if name not in (CONFIG + ".tmp", LOCK)]:
            raise InputError(f"run folder {folder}: holds {foreign[0]} but no {CONFIG}; choose another hydra.run.dir")

    def begin(self) -> None:
        """Take the folder: from now on it belongs to this configuration.

        Raises:
            InputError: If it cannot be written to, or another command is at work there.
        """
        if self.process_group.is_rank_zero:
            self._take()
        self.process_group.barrier()

    def _take(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._lock.is_locked:
                self._lock.acquire(blocking=False)
            atomic_write_lines(self.path(CONFIG), [self.config.rstrip("\n")])
        except Timeout:
            raise InputError(
                f"run folder {self.folder}: another process is at work on this run (processes that share one need "
                "trainer=ddp); wait for its end, or choose another hydra.run.dir"
            ) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"run folder {self.folder}: {reason}; choose another hydra.run.dir") from error

    def path(self, name: str) -> Path:
        """Path of a file of this run."""
        return self.folder / name

    def is_complete(self, name: str) -> bool:
        """Whether the stage that writes ``name`` is finished."""
        return self.process_group.broadcast(is_complete(self.path(name)))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the wall-clock seconds of a stage to ``timing.json``; an interrupted part of it is not counted."""
        start = time.perf_counter()
        yield
        if not self.process_group.is_rank_zero:
            return
        path = self.path("timing.json")
        timing = _timing(path)
        timing[stage] = round(time.perf_counter() - start, 3)
        atomic_write_lines(path, [json.dumps(timing, indent=1)])


def _same(held: str, asked: str) -> bool:
    """Whether two configurations agree; files that are no longer there, and so have no digest, may have been any."""
    (options, inputs), (own_options, own_inputs) = map(_parts, (held, asked))
    return options == own_options and inputs | own_inputs == inputs


def _parts(config: str) -> tuple[str, dict[str, str]]:
    """Options, and by option the digests of files, which stand at the end."""
    options, _, inputs = config.rstrip("\n").partition("\ninputs:\n")
    return options, dict(line.strip().split(": ", 1) for line in inputs.splitlines() if ": " in line)


def _difference(held: str, asked: str) -> str:
    """Where two configurations part first."""
    for one, other in zip_longest(held.splitlines(), asked.splitlines(), fillvalue="nothing"):
        if one != other:
            return f"{one.strip()} there, {other.strip()} here"
    return "spaces"


def _timing(path: Path) -> dict[str, float]:
    """Seconds by stage; none where the file is missing or damaged, as no result hangs on it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
