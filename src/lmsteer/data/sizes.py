"""Sizes of a data module and the smallest that are allowed; imports no torch."""

from collections.abc import Mapping
from typing import Any

from lmsteer.errors import InputError

SMALLEST = {"batch_size": 1, "dev_rows": 1, "max_length": 2, "rows": 2}


def check_sizes(options: Mapping[str, Any]) -> None:
    """Refuse sizes of a data module that are too small.

    Args:
        options: Options of ``SteerDataModule``; those that are no sizes are not read.

    Raises:
        InputError: Naming the option and the smallest value that is allowed.
    """
    for name, smallest in SMALLEST.items():
        if (value := options.get(name)) is not None and value < smallest:
            raise InputError(f"data.{name}={value}: an integer of {smallest} or more expected")
