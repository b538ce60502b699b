"""The page of highlighted texts: colored tokens, marked spans, and the likelihood over the strength."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmsteer.analysis.highlighter import Highlight, MarkedSpan
from lmsteer.reporting.page import render_page
from lmsteer.reporting.text import interval

FULL_COLOR_QUANTILE = 0.95
"""Share of tokens with less evidence than a token of full color."""
MAX_OPACITY = 0.6
"""Opacity of the full color, through which the text can still be read."""
SCORE_TITLES = {
    "ratio": "log-likelihood ratio, in nats",
    "rate": "log-likelihood ratio, in nats per token",
    "mean": "mean strength, under the posterior over the grid",
}
CURVE_SIZE = (132.0, 36.0)
"""Width and height of a curve in pixels."""
CURVE_MARGIN = 4.0


@dataclass(frozen=True)
class Piece:
    """Tokens that share a character, mostly one token, with their text and the sum of their evidence.

    ``positive`` and ``negative`` locate the piece in a span: "" outside, "first" at its begin, else "inside".
    """

    text: str
    evidence: float
    positive: str
    negative: str
    ends_positive: bool
    ends_negative: bool


def text_pieces(highlight: Highlight) -> list[Piece]:
    """Split a text into pieces, whose concatenation is the text again."""
    groups: list[list[int]] = []
    last_end = 0
    for token, (start, end) in enumerate(highlight.offsets):
        if start < last_end:
            groups[-1].append(token)
        else:
            groups.append([token])
        last_end = max(last_end, end)
    pieces = []
    for tokens in groups:
        start, end = highlight.offsets[tokens[0]][0], max(highlight.offsets[token][1] for token in tokens)
        positive, ends_positive = _position_in_span(tokens, highlight.positive)
        negative, ends_negative = _position_in_span(tokens, highlight.negative)
        evidence = sum(highlight.evidence[token] for token in tokens)
        pieces.append(Piece(highlight.text[start:end], evidence, positive, negative, ends_positive, ends_negative))
    return pieces


def color_scale(highlights: Sequence[Highlight]) -> float:
    """Choose the evidence of full color, in nats: 5 % of all tokens have more."""
    sizes = [abs(value) for highlight in highlights for value in highlight.evidence]
    return max(float(np.quantile(sizes, FULL_COLOR_QUANTILE)), 1e-9) if sizes else 1.0


def highlight_page(
    highlights: Sequence[Highlight], summary: Mapping[str, Any], *, facts: Mapping[str, str], max_texts: int
) -> str:
    """Write the page as HTML in one file.

    Args:
        summary: Dimension and strengths, ``decision`` and ``threshold``, and the ``agreement`` with labels or None.
        facts: Further facts on how the page was made, by name.
        max_texts: Texts on the page, at most: the first ones.
    """
    chosen = highlights[:max_texts]
    scale = color_scale(chosen)
    return render_page(
        "highlight.html",
        title=f"Evidence for {summary['dimension']}",
        dimension=summary["dimension"],
        first=f"{summary['strength']:+g}",
        second=f"{summary['against']:+g}",
        fixed=", ".join(f"{name} {value:+g}" for name, value in summary["fixed"].items()),
        steps=[{"value": f"{share * scale:+.2f}", **_color(share * scale, scale)} for share in (-1, -0.5, 0.5, 1)],
        score=SCORE_TITLES[summary["decision"]],
        threshold=f"{summary['threshold']:.3g}",
        agreement=agreement_sentence(summary) if summary["agreement"] else "",
        texts=[_text_content(highlight, scale) for highlight in chosen],
        total=len(highlights),
        facts=facts.items(),
    )


def agreement_sentence(summary: Mapping[str, Any]) -> str:
    """Write how well decisions and labels agree."""
    agreement = summary["agreement"]
    counts = f"on {agreement['texts']} texts, {agreement['positive']} of them positive"
    sentence = f"accuracy {interval(agreement['accuracy'], 3)} {counts}"
    if agreement["auc"] is not None:
        sentence += f"; AUC {interval(agreement['auc'], 3)}"
    return f"{sentence}; threshold {summary['threshold']:.3g}"


def signed(value: float, digits: int = 2) -> str:
    """Write a number with its sign, unless it rounds to 0."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def _text_content(highlight: Highlight, scale: float) -> dict[str, Any]:
    return {
        "pieces": [
            {**vars(piece), "hint": f"{signed(piece.evidence)} nats", **_color(piece.evidence, scale)}
            for piece in text_pieces(highlight)
        ],
        "score": signed(highlight.score),
        "is_positive": highlight.is_positive,
        "label": None if highlight.label is None else signed(highlight.label),
        "agrees": (highlight.label > 0) == highlight.is_positive if highlight.label else None,
        "best": signed(highlight.best_strength, 1),
        "mean": signed(highlight.mean_strength, 1),
        "curve": _curve(highlight),
    }


def _position_in_span(tokens: Sequence[int], spans: Sequence[MarkedSpan]) -> tuple[str, bool]:
    """Locate tokens in a span, and return whether the span ends with them."""
    for span in spans:
        if tokens[0] < span.end and span.start <= tokens[-1]:
            return ("first" if span.start in tokens else "inside"), span.end - 1 in tokens
    return "", False


def _color(evidence: float, scale: float) -> dict[str, str]:
    return {
        "side": "for" if evidence > 0 else "against",
        "depth": f"{MAX_OPACITY * min(1.0, abs(evidence) / scale):.2f}",
    }


def _curve(highlight: Highlight) -> dict[str, Any]:
    """Draw the log-likelihood over the grid as points of an SVG, with its description in words."""
    grid, loglik = highlight.grid, highlight.log_likelihood
    width, height = CURVE_SIZE
    low, high = min(loglik), max(loglik)

    def x(strength: float) -> float:
        return CURVE_MARGIN + (strength - grid[0]) / (grid[-1] - grid[0]) * (width - 2 * CURVE_MARGIN)

    def y(value: float) -> float:
        return height - CURVE_MARGIN - (value - low) / ((high - low) or 1.0) * (height - 2 * CURVE_MARGIN)

    values = ", ".join(f"{value - high:.1f} at {strength:+g}" for strength, value in zip(grid, loglik, strict=True))
    return {
        "width": f"{width:g}",
        "height": f"{height:g}",
        "points": " ".join(f"{x(strength):.1f},{y(value):.1f}" for strength, value in zip(grid, loglik, strict=True)),
        "zero": f"{x(0):.1f}" if grid[0] <= 0 <= grid[-1] else None,
        "top": {"x": f"{x(highlight.best_strength):.1f}", "y": f"{y(high):.1f}"},
        "words": f"log-likelihood minus its maximum, by strength: {values}",
    }
