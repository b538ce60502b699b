"""Commands in processes of their own, forked from one that has loaded everything; faults happen inside them."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from lmsteer.cli.app import entry_point

ROOT = Path(__file__).parents[2]
LOADED = [
    "lmsteer.cli.app",
    "lmsteer.commands.train",
    "lmsteer.commands.generate",
    "lmsteer.commands.evaluate",
    "lmsteer.cli.sweep_callback",
    "lmsteer.data.prompts.prompt_sets",
    "lmsteer.data.sources.labeled_file",
    "lmsteer.models.random_models",
    "lmsteer.scoring.tfidf",
    "tests.faults.faulty",
]
Fault = Callable[[], None]
"""What is done in the process before the command starts; it can be pickled."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(LOADED)


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, below 0 for a signal, and what it printed."""

    status: int | None
    said: str

    @property
    def error(self) -> str:
        """The one line of a command that was refused; a traceback is none."""
        assert "Traceback" not in self.said, self.said
        lines = [line for line in self.said.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.said
        return lines[0]


@dataclass(frozen=True)
class Started:
    """A process that runs a command."""

    process: BaseProcess
    log: Path

    def kill(self) -> bool:
        """Kill it; whether it was alive."""
        self.process.kill()
        return self.end().status == -signal.SIGKILL

    def wait_until_stopped(self) -> None:
        """Wait for the fault ``StopsAt``."""
        assert self.process.pid is not None
        program = psutil.Process(self.process.pid)
        until(lambda: self.process.is_alive() and program.status() == psutil.STATUS_STOPPED, self.log)

    def send(self, *signals: signal.Signals) -> None:
        """Send signals to it."""
        assert self.process.pid is not None
        for number in signals:
            os.kill(self.process.pid, number)

    def end(self) -> Ended:
        """Wait for its end."""
        self.process.join(120)
        assert self.process.exitcode is not None, "it hangs"
        return Ended(self.process.exitcode, self.log.read_text(errors="replace"))


def until(condition: Callable[[], bool], log: Path) -> None:
    """Wait for a condition; fail with what a process printed if it does not come."""
    for _ in range(30_000):
        if condition():
            return
        time.sleep(0.002)
    raise AssertionError(log.read_text(errors="replace"))


def start(command: str, options: Sequence[str], log: Path, fault: Fault | None = None) -> Started:
    """Start ``python -m src.COMMAND OPTIONS``, as it were; what it prints goes to ``log``."""
    process = _context.Process(target=_run, args=(command, list(options), log, fault))
    process.start()
    return Started(process, log)


def run(command: str, options: Sequence[str], log: Path, fault: Fault | None = None) -> Ended:
    """Start a command and wait for its end."""
    return start(command, options, log, fault).end()


def _run(command: str, options: list[str], log: Path, fault: Fault | None) -> None:
    os.chdir(ROOT)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = [command, *options]
    module = importlib.import_module(f"lmsteer.commands.{command}")
    status = 0
    if fault is not None:
        fault()
    try:
        entry_point(command)(getattr(module, command))()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
