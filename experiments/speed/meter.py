"""Measure the seconds and the peak memory of named work."""

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
POLL_SECONDS = 0.01
T = TypeVar("T")
P = ParamSpec("P")


class Meter:
    """A record of the wall-clock seconds of every call and of the peak memory, by the name of the work.

    Attributes:
        seconds: Of every timed call, by name.
        peak: MiB held at most beyond what the process held when the work began, by name. On a GPU its memory as torch
            allocates it, elsewhere the resident memory of the process.
        before: MiB held when memory was measured first, the models included.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.peak: defaultdict[str, float] = defaultdict(float)
        self.before = 0.0

    def time(self, name: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work and record its seconds."""
        self._synchronize()
        start = time.perf_counter()
        result = work(*args, **kwargs)
        self._synchronize()
        self.seconds[name].append(time.perf_counter() - start)
        return result

    def median(self, name: str) -> float:
        """Return the median seconds of the calls of a name."""
        return statistics.median(self.seconds[name])

    def memory_and_warm_up(self, calls: Mapping[str, Callable[[], object]]) -> None:
        """Record the memory of each call, then repeat all: memory that was given back has to be allocated again."""
        for name, call in calls.items():
            with self.memory(name):
                call()
        for call in calls.values():
            call()

    @contextmanager
    def memory(self, name: str) -> Iterator[None]:
        """Record the peak memory of the work inside; of several measurements of one name the largest counts.

        Fresh memory costs time: short calls are not to be timed in here.
        """
        _return_freed_memory()
        with self._poll_peak() as read_peak:
            held = read_peak()
            self.before = self.before or held
            yield
            self.peak[name] = max(self.peak[name], read_peak() - held)

    @contextmanager
    def _poll_peak(self) -> Iterator[Callable[[], float]]:
        """Yield a function that returns the peak so far, in MiB."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            yield lambda: torch.cuda.max_memory_allocated(self.device) / MIB
            return
        process, stopped, peak = psutil.Process(), threading.Event(), 0.0

        def read() -> float:
            nonlocal peak
            resident: int = process.memory_info().rss
            peak = max(peak, resident / MIB)
            return peak

        def poll() -> None:
            while not stopped.wait(POLL_SECONDS):
                read()

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield read
        finally:
            stopped.set()
            thread.join()

    def _synchronize(self) -> None:
        if self.device.type in ("cuda", "mps"):
            torch.get_device_module(self.device).synchronize()


def _return_freed_memory() -> None:
    """Give freed memory back to the system, as the peak of one measurement would hide that of the next."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
