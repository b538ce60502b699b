"""Everything that knows Hydra; settings of OpenMP, the allocator and oneDNN that must come before torch."""

import ctypes
import os
import platform

SPIN_COUNT = 1000
"""Turns of the loop in which a thread of OpenMP waits for others before it sleeps; libgomp has 300,000."""
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
"""Variables of the environment by which users decide how threads wait."""

# oneDNN keeps a compiled kernel for each shape it has met; texts of all lengths would make that gigabytes.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def bound_waiting() -> None:
    """Let threads of OpenMP wait in a short loop, unless the user decides how.

    On a busy machine a long one burns the time in which the threads that they wait for could work.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of returning them: fresh pages cost more than the sums done on them."""
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 2**30)
        libc.mallopt(trim_threshold, 2**31 - 1)


bound_waiting()
keep_freed_memory()
