"""Everything that knows Hydra; settings of the allocator and of oneDNN that must come before the first computation."""

import ctypes
import os
import platform

# oneDNN keeps a compiled kernel for each shape it has met; texts of all lengths would make that gigabytes.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of returning them: fresh pages cost more than the sums done on them."""
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 2**30)
        libc.mallopt(trim_threshold, 2**31 - 1)


keep_freed_memory()
