"""What reaches the terminal: no control characters of files or models, in whatever encoding the terminal has."""

import logging
import re
import shlex
import sys
import traceback
from types import TracebackType

from lmsteer.reporting.text import escape_terminal


def show(text: str = "") -> None:
    """Print lines in which everything else that a terminal would obey is written as Python writes it."""
    print(escape_lines(text))


def escape_lines(text: str) -> str:
    """Escape a text for a terminal but for its line ends."""
    return "\n".join(map(escape_terminal, text.split("\n")))


class EscapingFormatter(logging.Formatter):
    """Formats messages for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message without control characters."""
        return escape_lines(super().format(record))


def accept_any_encoding() -> None:
    """Let standard output and error write what their encoding lacks as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def escape_tracebacks() -> None:
    """Let the traceback of an error that is not handled be written without control characters, its message included."""
    sys.excepthook = _write_traceback


def _write_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(escape_lines("".join(traceback.format_exception(kind, error, trace))))


def quoted_override(name: str, value: str) -> str:
    """Return an option with a text as its value, as it is typed in a shell: quoted for Hydra and the shell if needed.

    Example:
        >>> print(quoted_override("corpus.path", "a (1).tsv"))
        'corpus.path="a (1).tsv"'
    """
    if not re.fullmatch(r"[\w./-]+", value, re.ASCII):
        value = hydra_quoted(value)
    return shlex.quote(f"{name}={value}")


def hydra_quoted(value: str) -> str:
    """Return a text in quotation marks of Hydra's grammar: those in it have a backslash, and so has one before them.

    Example:
        >>> print(hydra_quoted('a "b"'))
        "a \\"b\\""
    """
    escaped = re.sub(r'(\\*)("|$)', lambda match: match[1] * 2 + match[2].replace('"', '\\"'), value)
    return f'"{escaped}"'
