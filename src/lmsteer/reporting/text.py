"""Format numbers, intervals and tables as text: the only writer of tables, numbers and intervals of this project.

A row of one cell in a table of several columns is the heading of the rows below it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lmsteer.evaluation.metric_names import Metric

MISSING = "–"
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
LATEX_SIGNS = {
    **{sign: rf"\{sign}" for sign in "#$%&_{}"},
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "[": "{[}", "]": "{]}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"},
    **{"×": r"$\times$", "±": r"$\pm$", "≤": r"$\leq$", "→": r"$\rightarrow$", "↑": r"$\uparrow$"},
    **{"↓": r"$\downarrow$", "†": r"\dag{}", "–": "--", "…": r"\ldots{}"},
}


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


def interval(
    measured: HasInterval | Mapping[str, Any],
    digits: int = 2,
    *,
    signed: bool = False,
    write: Callable[[float], str] | None = None,
) -> str:
    """Write a value with its interval, ``.74 [.70, .78]``; a value without one stays alone.

    Args:
        measured: An object or a mapping with ``value``, ``low`` and ``high``.
        write: Format of the three numbers; None: ``number`` with ``digits`` and ``signed``.
    """
    names = ("value", "low", "high")
    as_mapping = isinstance(measured, Mapping)
    value, low, high = (measured[name] if as_mapping else getattr(measured, name) for name in names)  # type: ignore[index]
    write = write or (lambda value: number(value, digits, signed=signed))
    return write(value) if low is None or high is None else f"{write(value)} [{write(low)}, {write(high)}]"


def percent(share: float) -> str:
    """Write a share as per cent, with one decimal below ten.

    Example:
        >>> percent(0.123), percent(0.0456)
        ('12 %', '4.6 %')
    """
    return f"{100 * share:.0f} %" if abs(share) >= 0.095 else f"{100 * share:.1f} %".replace("-0.0", "0.0")


def metric_number(metric: Metric, value: float, digits: int = 2) -> str:
    """Write a value of a metric: ``digits`` decimals of a fraction, three digits of a perplexity.

    Example:
        >>> from lmsteer.evaluation.metric_names import Metric
        >>> metric_number(Metric("positivity"), 0.456), metric_number(Metric("perplexity"), 16.38)
        ('.46', '16.4')
    """
    return number(value, digits) if metric.is_fraction else f"{value:.{0 if value >= 99.95 else 1}f}"


def metric_interval(metric: Metric, measured: HasInterval, digits: int = 2) -> str:
    """Write a value of a metric with its interval, ``.74 [.70, .78]`` or ``16.4 [15.8, 17.0]``."""
    return interval(measured, write=lambda value: metric_number(metric, value, digits))


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
    empty = [""] * (len(headings) - 1)
    lines = [[f"**{line[0]}**", *empty] if _is_heading(line, headings) else line for line in lines]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def latex_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a LaTeX tabular that needs no package."""
    lines = [rf"\begin{{tabular}}{{{'l' * len(headings)}}}", r"\hline", _latex_row(headings), r"\hline"]
    for row in rows:
        if _is_heading(row, headings):
            lines += [] if lines[-1] == r"\hline" else [r"\hline"]
            lines.append(rf"\multicolumn{{{len(headings)}}}{{l}}{{\textit{{{escape_latex(row[0])}}}}} \\")
        else:
            lines.append(_latex_row(row))
    return "\n".join([*lines, r"\hline", r"\end{tabular}"])


def terminal_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table for a terminal: columns as wide as their widest cell, headings broken between words.

    Every cell stays on its line, as ``escape_terminal`` writes it.
    """
    headings = [re.sub(r" (?=[↑↓])", NO_BREAK_SPACE, escape_terminal(heading)) for heading in headings]
    rows = [[*map(escape_terminal, row)] for row in rows]
    columns = zip(headings, zip(*rows, strict=True), strict=True)
    widths = [max(map(len, (*column, *heading.split(" ")))) for heading, column in columns]
    wrapped = [textwrap.wrap(heading, width) or [""] for heading, width in zip(headings, widths, strict=True)]
    height = max(map(len, wrapped))
    lines = [[*row] for row in zip(*(words + [""] * (height - len(words)) for words in wrapped), strict=True)]
    lines += [["-" * width for width in widths], *map(list, rows)]
    aligned = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join(aligned).replace(NO_BREAK_SPACE, " ")


def escape_markdown(text: str) -> str:
    """Put a text on one line in which no sign means anything to Markdown or HTML."""
    return re.sub(r"[\\|`*<~$]|(?<=\])\(|\b_|_\b|&(?=#?\w+;)", r"\\\g<0>", " ".join(text.split()))


def escape_latex(text: str) -> str:
    """Put a text on one line in which no sign means anything to LaTeX."""
    return "".join(LATEX_SIGNS.get(sign, sign) for sign in " ".join(text.split()))


def escape_terminal(text: str) -> str:
    """Write everything that a terminal would obey, line ends too, as Python does."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _is_heading(row: Sequence[str], headings: Sequence[str]) -> bool:
    return len(row) == 1 < len(headings)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape_latex, cells)) + r" \\"


def file_size(size: float | None) -> str:
    """Format bytes in powers of ten, as the hub does; None is an unknown size.

    Example:
        >>> file_size(3_247_159_078), file_size(21_000), file_size(None)
        ('3.25 GB', '0.02 MB', 'of unknown size')
    """
    if size is None:
        return "of unknown size"
    if size >= 10**9:
        return f"{size / 10**9:,.3g} GB"
    return f"{size / 10**6:.0f} MB" if size >= 10**7 else f"{size / 10**6:.2f} MB"
