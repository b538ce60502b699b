"""Errors of the user, as opposed to defects of the program."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

_OUT_OF_MEMORY = re.compile("out of memory|can('t|not) allocate memory|unable to allocate", re.IGNORECASE)
_ALLOCATION = re.compile(r"tried to allocate ([\d.]+ \w+)", re.IGNORECASE)


class InputError(ValueError):
    """Something the user gave is wrong.

    The message is one line: what is wrong, where, and what is allowed. Entry points print it without a traceback.

    Example:
        >>> raise InputError("steer.rank=0: an integer in [1, 576] or 'full' expected")
        Traceback (most recent call last):
        lmsteer.errors.InputError: steer.rank=0: an integer in [1, 576] or 'full' expected
    """


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Turn a failed allocation, on a GPU or the CPU, into advice; other errors pass.

    Raises:
        InputError: If an allocation failed.

    Example:
        >>> with explain_out_of_memory():
        ...     raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ...")
        Traceback (most recent call last):
        lmsteer.errors.InputError: out of memory (2.00 GiB at once): a smaller batch_size, samples or rank needs less
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error))):
            raise
        size = _ALLOCATION.search(str(error))
        amount = f" ({size[1]} at once)" if size else ""
        raise InputError(f"out of memory{amount}: a smaller batch_size, samples or rank needs less") from error
