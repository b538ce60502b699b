"""Highlighted texts on a terminal: signs where there is no color, colors where there is."""

from __future__ import annotations

import os
from typing import TextIO

from lmsteer.analysis.highlighter import Highlight
from lmsteer.reporting.highlight_report import Piece, pieces

FOR, AGAINST = 33, 166
"""Blue and orange of the 256 colors, to be read on black and on white."""
FAINT, STRONG = 0.25, 0.75
"""Shares of the full scale: less evidence has no color, more is bold."""


def has_colors(stream: TextIO) -> bool:
    """Whether a stream is a terminal that shows colors, and NO_COLOR (https://no-color.org) is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def marked(highlight: Highlight, *, scale: float, colored: bool) -> str:
    """The text on one line, ``{+spans for+}`` the attribute and ``[-spans against-]`` it in their signs.

    Args:
        scale: Evidence that has the full color, in nats.
        colored: Whether tokens have colors as well.
    """
    return "".join(_shown(piece, scale, colored) for piece in pieces(highlight)).strip()


def _shown(piece: Piece, scale: float, colored: bool) -> str:
    body = piece.text.lstrip()
    space = _harmless(piece.text[: len(piece.text) - len(body)])
    before = "[-" * (piece.negative == "first") + "{+" * (piece.positive == "first")
    behind = "+}" * piece.ends_positive + "-]" * piece.ends_negative
    body = _harmless(body)
    share = abs(piece.evidence) / scale
    if colored and share >= FAINT:
        bold = "1;" if share >= STRONG else ""
        body = f"\x1b[{bold}38;5;{FOR if piece.evidence > 0 else AGAINST}m{body}\x1b[0m"
    return space + before + body + behind


def _harmless(text: str) -> str:
    """What a terminal would obey, line ends too, as it is written in Python."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
