"""Sizes of a data module and the range that is allowed; imports no torch."""

from collections.abc import Mapping
from typing import Any

from lmsteer.errors import InputError

SMALLEST = {"batch_size": 1, "dev_rows": 1, "max_length": 2, "rows": 2}
LARGEST = {"batch_size": 2**16}
"""Batches whose rows alone would take much time to draw, before any of their hidden states."""


def check_sizes(options: Mapping[str, Any]) -> None:
    """Refuse sizes of a data module that are out of range.

    Args:
        options: Options of ``SteerDataModule``; those that are no sizes are not read.

    Raises:
        InputError: Naming the option and the range that is allowed.
    """
    for name, smallest in SMALLEST.items():
        value, largest = options.get(name), LARGEST.get(name)
        if value is not None and not smallest <= value <= (largest or value):
            expected = f"an integer from {smallest} to {largest}" if largest else f"an integer of {smallest} or more"
            raise InputError(f"data.{name}={value}: {expected} expected")
