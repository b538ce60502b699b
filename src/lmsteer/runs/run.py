"""Own a run folder: one configuration, its results and its finished stages.

A stage is finished if its file exists: files are written under a temporary name and renamed.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

from filelock import FileLock, Timeout

from lmsteer import old_files
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write_lines, is_complete
from lmsteer.storage.timing import TIMING, read_seconds

CONFIG = "config.yaml"
LOCK = ".lock"


class Run:
    """A folder for one configuration (its resolved YAML text).

    The folder must be new, empty, or hold the same configuration, whose run then resumes. Nothing is written before
    ``begin``, which also locks the folder against other commands. Rank zero writes and broadcasts the state of files.

    Args:
        process_group: Processes of this run; all of them call its methods.

    Raises:
        InputError: If the folder holds anything else; it is not changed.
    """

    def __init__(self, folder: Path, config: str, process_group: ProcessGroup | None = None) -> None:
        self.folder, self.config, self.process_group = folder, config, process_group or ProcessGroup()
        # Shared by all runs of this process in this folder; released with the last of them.
        self._lock = FileLock(folder / LOCK, is_singleton=True, thread_local=False)
        if self.process_group.is_rank_zero:
            self._check()

    def _check(self) -> None:
        folder, config = self.folder, self.config
        if folder.exists() and not folder.is_dir():
            raise InputError(f"run folder {folder}: a file has that name; choose another hydra.run.dir")
        if self.path(CONFIG).is_file():
            stored = old_files.config(self.path(CONFIG).read_text(encoding="utf-8", errors="replace"))
            if not _is_same(stored, config):
                difference = _first_difference(stored, config)
                raise InputError(
                    f"run folder {folder}: holds a run with another configuration ({difference}); "
                    "choose another hydra.run.dir"
                )
            self.config = stored  # it also has the digests of files that no longer exist
            return
        names = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
        if foreign := [name for name in names if name not in (CONFIG + ".tmp", LOCK)]:
            raise InputError(f"run folder {folder}: holds {foreign[0]} but no {CONFIG}; choose another hydra.run.dir")

    def begin(self) -> None:
        """Lock the folder and write the configuration.

        Raises:
            InputError: If the folder cannot be written to, or another command has locked it.
        """
        if self.process_group.is_rank_zero:
            self._lock_folder()
        self.process_group.barrier()

    def _lock_folder(self) -> None:
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
        """Return the path of a file of this run."""
        return self.folder / name

    def is_complete(self, name: str) -> bool:
        """Return whether the stage that writes ``name`` is finished."""
        return self.process_group.broadcast(is_complete(self.path(name)))

    @contextmanager
    def timed(self, stage: str) -> Iterator[list[float]]:
        """Add the wall-clock seconds of a stage to ``timing.json``, without those before an interruption.

        Yields:
            A list for further seconds, such as those of work that was done before.
        """
        start, further = time.perf_counter(), list[float]()
        yield further
        if not self.process_group.is_rank_zero:
            return
        seconds = read_seconds(self.folder)
        seconds[stage] = round(time.perf_counter() - start + sum(further), 3)
        atomic_write_lines(self.path(TIMING), [json.dumps(seconds, indent=1)])


def _is_same(stored: str, config: str) -> bool:
    """Return whether two configurations agree; an input file that is missing now has no digest and always agrees."""
    (stored_options, stored_inputs), (options, inputs) = map(_split_inputs, (stored, config))
    return stored_options == options and stored_inputs | inputs == stored_inputs


def _split_inputs(config: str) -> tuple[str, dict[str, str]]:
    """Split a configuration into its options and the digests of input files, by option, at its end."""
    options, _, inputs = config.rstrip("\n").partition("\ninputs:\n")
    return options, dict(line.strip().split(": ", 1) for line in inputs.splitlines() if ": " in line)


def _first_difference(stored: str, config: str) -> str:
    """Describe the first line in which two configurations differ."""
    for stored_line, line in zip_longest(stored.splitlines(), config.splitlines(), fillvalue="nothing"):
        if stored_line != line:
            return f"{stored_line.strip()} there, {line.strip()} here"
    return "spaces"
