"""Seconds and peak memory of named work."""

from __future__ import annotations

import ctypes
import gc
import platform
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import psutil
import torch

MIB = 2**20
INTERVAL = 0.01  # seconds between two looks at the process's memory
T = TypeVar("T")
P = ParamSpec("P")


class Meter:
    """Collects, for each name, wall-clock seconds of every call and the most memory it took.

    Attributes:
        seconds: Of every timed call, by name.
        peak: MiB that a part held at most, beyond what the process held when it began, by name. On a GPU its memory as
            torch allocates it, elsewhere the resident memory of the process.
        before: MiB held when the first part began, the models among them.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.peak: defaultdict[str, float] = defaultdict(float)
        self.before = 0.0

    def time(self, name: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work and note its seconds."""
        self._synchronize()
        start = time.perf_counter()
        result = work(*args, **kwargs)
        self._synchronize()
        self.seconds[name].append(time.perf_counter() - start)
        return result

    def median(self, name: str) -> float:
        """Median seconds of the calls of a name."""
        return statistics.median(self.seconds[name])

    def memory_and_warm_up(self, calls: Mapping[str, Callable[[], object]]) -> None:
        """Note the memory of each call, then do all once more: what the first round gave back is fetched again."""
        for name, call in calls.items():
            with self.part(name):
                call()
        for call in calls.values():
            call()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Note the memory of what is done inside; the largest of several parts of one name counts.

        Fresh memory costs time: short calls are not to be timed in here.
        """
        _return_freed_memory()
        with self._peak() as read:
            held = read()
            self.before = self.before or held
            yield
        self.peak[name] = max(self.peak[name], read() - held)

    @contextmanager
    def _peak(self) -> Iterator[Callable[[], float]]:
        """Yield a function that says the peak so far, in MiB."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            yield lambda: torch.cuda.max_memory_allocated(self.device) / MIB
            return
        resident = _ResidentMemory()
        resident.start()
        try:
            yield lambda: resident.look() / MIB
        finally:
            resident.stop()

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


class _ResidentMemory(threading.Thread):
    """Looks at the memory of the process again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._process, self._stopped, self._peak = psutil.Process(), threading.Event(), 0

    def run(self) -> None:
        """Look until told to stop."""
        while not self._stopped.wait(INTERVAL):
            self.look()

    def look(self) -> int:
        """Bytes at most so far."""
        self._peak = max(self._peak, self._process.memory_info().rss)
        return self._peak

    def stop(self) -> None:
        """Have the last look."""
        self.look()
        self._stopped.set()
        self.join()


def _return_freed_memory() -> None:
    """Give freed memory back to the system, else the peak of one part would hide that of the next."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
