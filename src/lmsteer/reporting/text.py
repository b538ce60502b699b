"""Format numbers, intervals and tables as text: the one way in which every table of this project is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

MISSING = "–"


class HasInterval(Protocol):
    """A value with the limits of its interval; both limits are None where there is none."""

    @property
    def value(self) -> float:
        """The value itself."""

    @property
    def low(self) -> float | None:
        """Lower limit."""

    @property
    def high(self) -> float | None:
        """Upper limit."""


def number(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """Write a number with fixed decimals and without the zero before its point; None is a dash.

    Example:
        >>> number(0.456), number(-0.5, 1), number(12.34, 1), number(0.1, signed=True)
        ('.46', '-.5', '12.3', '+.10')
    """
    if value is None:
        return MISSING
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return re.sub(r"^([+-]?)0\.(?=.)", r"\1.", text)


def interval(measured: HasInterval | Mapping[str, Any], digits: int = 2, *, signed: bool = False) -> str:
    """Write a value with its interval, ``.74 [.70, .78]``; a value without one stays alone.

    Args:
        measured: An object or a mapping with ``value``, ``low`` and ``high``.
    """
    names = ("value", "low", "high")
    as_mapping = isinstance(measured, Mapping)
    value, low, high = (measured[name] if as_mapping else getattr(measured, name) for name in names)  # type: ignore[index]
    text = number(value, digits, signed=signed)
    if low is None or high is None:
        return text
    return f"{text} [{number(low, digits, signed=signed)}, {number(high, digits, signed=signed)}]"


def percent(share: float) -> str:
    """Write a share as per cent, with one decimal below ten.

    Example:
        >>> percent(0.123), percent(0.0456)
        ('12 %', '4.6 %')
    """
    return f"{100 * share:.0f} %" if abs(share) >= 0.095 else f"{100 * share:.1f} %".replace("-0.0", "0.0")


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, escaped: bool = True) -> str:
    """Write a Markdown table whose columns are aligned, so that it reads as plain text too.

    Args:
        escaped: Escape every cell; False for cells that hold Markdown of their own.

    Example:
        >>> print(markdown_table(["name", "n"], [["a|b", "3"]]))
        | name | n   |
        | ---- | --- |
        | a\\|b | 3   |
    """
    lines = [[escape_markdown(cell) if escaped else cell for cell in line] for line in (headings, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def escape_markdown(text: str) -> str:
    """Put a text on one line in which no sign means anything to Markdown or HTML."""
    return re.sub(r"[\\|`*<~$]|(?<=\])\(|\b_|_\b", r"\\\g<0>", " ".join(text.split()))
