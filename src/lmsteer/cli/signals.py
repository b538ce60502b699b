"""End a command cleanly when it is asked to."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MESSAGE = b"\nTerminated: the same command with the same folder goes on where it stopped\n"


@contextmanager
def terminable() -> Iterator[None]:
    """End with a message and status 143 on SIGTERM, which Lightning alone would take for the end of the fit.

    In a thread, and in a job of submitit, which has another use for the signal, nothing changes.
    """

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # an impatient sender repeats it
        os.write(2, MESSAGE)  # the signal may have interrupted a print
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
