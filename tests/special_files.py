"""Files that are no regular files."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def pipe(path: Path) -> Iterator[Path]:
    """Make a named pipe that would block its reader for a second and then end, as if it were empty."""
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    timer = threading.Timer(1, os.close, [writer])
    timer.start()
    try:
        yield path
    finally:
        timer.cancel()
        timer.join()
        path.unlink()
