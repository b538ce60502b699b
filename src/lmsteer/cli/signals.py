"""What a command does when it is told to end."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LINE = b"\nTerminated: the same command with the same folder goes on where it stopped\n"


@contextmanager
def terminable() -> Iterator[None]:
    """End with a line and status 143 on SIGTERM, which Lightning alone would take for the end of the fit.

    In a thread, and in a job of submitit, which has another use for the signal, nothing changes.
    """

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever is impatient sends it again
        os.write(2, LINE)  # print may be what was interrupted
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
