"""Highlighted texts on a terminal: spans in signs, and colors where the terminal has them."""

import os
from typing import TextIO

from lmsteer.analysis.highlighter import Highlight
from lmsteer.reporting.highlight_report import Piece, text_pieces
from lmsteer.reporting.text import escape_terminal

POSITIVE_COLOR, NEGATIVE_COLOR = 33, 166
"""Blue and orange of the 256 colors, readable on black and on white."""
COLORED_FROM, BOLD_FROM = 0.25, 0.75
"""Shares of the full scale from which evidence is colored and bold."""


def has_colors(stream: TextIO) -> bool:
    """Whether a stream is a terminal with colors, and NO_COLOR (https://no-color.org) is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def highlight_line(highlight: Highlight, *, scale: float, colored: bool) -> str:
    """Write the text on one line, ``{+spans for+}`` the attribute and ``[-spans against-]`` it in their signs.

    Args:
        scale: Evidence of the full color, in nats.
        colored: Color the tokens as well.
    """
    return "".join(_format_piece(piece, scale, colored) for piece in text_pieces(highlight)).strip()


def _format_piece(piece: Piece, scale: float, colored: bool) -> str:
    stripped = piece.text.lstrip()
    space = escape_terminal(piece.text[: len(piece.text) - len(stripped)])
    before = "[-" * (piece.negative == "first") + "{+" * (piece.positive == "first")
    after = "+}" * piece.ends_positive + "-]" * piece.ends_negative
    body, share = escape_terminal(stripped), abs(piece.evidence) / scale
    if colored and share >= COLORED_FROM:
        bold = "1;" if share >= BOLD_FROM else ""
        body = f"\x1b[{bold}38;5;{POSITIVE_COLOR if piece.evidence > 0 else NEGATIVE_COLOR}m{body}\x1b[0m"
    return space + before + body + after
