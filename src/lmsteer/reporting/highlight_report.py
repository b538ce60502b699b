"""Highlighted texts as a page: colored tokens, marked spans, and how the likelihood runs along the strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmsteer.analysis.highlighter import Highlight, MarkedSpan
from lmsteer.reporting.run_report import rendered

STRONG = 0.95
"""The share of tokens with less evidence than one that has the full color."""
DEEPEST = 0.6
"""Opacity of the full color, through which the text can still be read."""
SCORES = {
    "ratio": "log-likelihood ratio, in nats",
    "rate": "log-likelihood ratio, in nats per token",
    "mean": "mean strength, under the posterior over the grid",
}
CURVE = (132.0, 36.0)
"""Width and height of a curve."""
MARGIN = 4.0


@dataclass(frozen=True)
class Piece:
    """Tokens that share a character, mostly one token, with their text and their evidence together.

    ``positive`` and ``negative`` say where in a span the piece stands: "" outside, else "inside", or "first" where one
    begins.
    """

    text: str
    evidence: float
    positive: str
    negative: str
    ends_positive: bool
    ends_negative: bool

    @property
    def hint(self) -> str:
        """The evidence in words."""
        return f"{signed(self.evidence)} nats"


def pieces(highlight: Highlight) -> list[Piece]:
    """The text in pieces: put together they are the text again."""
    groups: list[list[int]] = []
    reached = 0
    for token, (start, end) in enumerate(highlight.offsets):
        if start < reached:
            groups[-1].append(token)
        else:
            groups.append([token])
        reached = max(reached, end)
    found = []
    for tokens in groups:
        start, end = highlight.offsets[tokens[0]][0], max(highlight.offsets[token][1] for token in tokens)
        positive, ends_positive = _place(tokens, highlight.positive)
        negative, ends_negative = _place(tokens, highlight.negative)
        evidence = sum(highlight.evidence[token] for token in tokens)
        found.append(Piece(highlight.text[start:end], evidence, positive, negative, ends_positive, ends_negative))
    return found


def scale_of(highlights: Sequence[Highlight]) -> float:
    """Evidence that has the full color: only few tokens of all texts have more."""
    sizes = [abs(value) for highlight in highlights for value in highlight.evidence]
    return max(float(np.quantile(sizes, STRONG)), 1e-9) if sizes else 1.0


def highlight_page(
    highlights: Sequence[Highlight], summary: Mapping[str, Any], *, facts: Mapping[str, str], shown: int
) -> str:
    """The page as HTML, in one file that needs nothing from elsewhere.

    Args:
        summary: Dimension and strengths, ``decision`` and ``threshold``, and the ``agreement`` with labels or None.
        facts: What else made the page, by name.
        shown: Texts on the page, at most: the first ones.
    """
    chosen = highlights[:shown]
    scale = scale_of(chosen)
    return rendered(
        "highlight.html",
        title=f"What speaks for {summary['dimension']}",
        dimension=summary["dimension"],
        first=f"{summary['strength']:+g}",
        second=f"{summary['against']:+g}",
        fixed=", ".join(f"{name} {value:+g}" for name, value in summary["fixed"].items()),
        steps=[{"value": f"{share * scale:+.2f}", **_color(share * scale, scale)} for share in (-1, -0.5, 0.5, 1)],
        score=SCORES[summary["decision"]],
        threshold=f"{summary['threshold']:.3g}",
        agreement=agreement_line(summary) if summary["agreement"] else "",
        texts=[_shown(highlight, scale) for highlight in chosen],
        total=len(highlights),
        facts=facts,
    )


def agreement_line(summary: Mapping[str, Any]) -> str:
    """How far decisions and labels agree, in a sentence."""
    found = summary["agreement"]
    right, area = found["accuracy"], found["auc"]
    limits = "" if right["low"] is None else f" [{right['low']:.3f}, {right['high']:.3f}]"
    line = f"accuracy {right['value']:.3f}{limits} on {found['texts']} texts, {found['positive']} of them positive"
    if area is not None:
        line += f"; AUC {area['value']:.3f} [{area['low']:.3f}, {area['high']:.3f}]"
    return f"{line}; threshold {summary['threshold']:.3g}"


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, unless it is as good as 0."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def _shown(highlight: Highlight, scale: float) -> dict[str, Any]:
    return {
        "pieces": [{"piece": piece, **_color(piece.evidence, scale)} for piece in pieces(highlight)],
        "score": signed(highlight.score),
        "is_positive": highlight.is_positive,
        "label": None if highlight.label is None else signed(highlight.label),
        "agrees": (highlight.label > 0) == highlight.is_positive if highlight.label else None,
        "best": signed(highlight.best_strength, 1),
        "mean": signed(highlight.mean_strength, 1),
        "curve": _curve(highlight),
    }


def _place(tokens: Sequence[int], spans: Sequence[MarkedSpan]) -> tuple[str, bool]:
    """Where in a span some tokens stand, and whether it ends with them."""
    for span in spans:
        if tokens[0] < span.end and span.start <= tokens[-1]:
            return ("first" if span.start in tokens else "inside"), span.end - 1 in tokens
    return "", False


def _color(evidence: float, scale: float) -> dict[str, str]:
    return {
        "side": "for" if evidence > 0 else "against",
        "depth": f"{DEEPEST * min(1.0, abs(evidence) / scale):.2f}",
    }


def _curve(highlight: Highlight) -> dict[str, Any]:
    """The log-likelihood along the grid, as points of a small drawing, and in words."""
    grid, nats = highlight.grid, highlight.log_likelihood
    width, height = CURVE
    low, high = min(nats), max(nats)

    def x(strength: float) -> float:
        return MARGIN + (strength - grid[0]) / (grid[-1] - grid[0]) * (width - 2 * MARGIN)

    def y(value: float) -> float:
        return height - MARGIN - (value - low) / ((high - low) or 1.0) * (height - 2 * MARGIN)

    spoken = ", ".join(f"{value - high:.1f} at {strength:+g}" for strength, value in zip(grid, nats, strict=True))
    return {
        "width": f"{width:g}",
        "height": f"{height:g}",
        "points": " ".join(f"{x(strength):.1f},{y(value):.1f}" for strength, value in zip(grid, nats, strict=True)),
        "zero": f"{x(0):.1f}" if grid[0] <= 0 <= grid[-1] else None,
        "top": {"x": f"{x(highlight.best_strength):.1f}", "y": f"{y(high):.1f}"},
        "words": f"log-likelihood less its highest, by strength: {spoken}",
        "range": f"{high - low:.1f}",
    }
