"""Promises of highlighted pages and lines: the text itself, escaped, its spans marked with and without color."""

import io
import re
from typing import Any

import pytest
from tests.handmade import Page

from lmsteer.analysis.highlighter import Highlight
from lmsteer.reporting.highlight_report import agreement_sentence, color_scale, highlight_page, text_pieces
from lmsteer.reporting.terminal_highlight import has_colors, highlight_line

SUMMARY: dict[str, Any] = {
    "dimension": "sentiment",
    "fixed": {"dummy": 1.0},
    "strength": 5.0,
    "against": -5.0,
    "decision": "ratio",
    "threshold": 0.5,
    "agreement": {
        "texts": 40,
        "positive": 30,
        "accuracy": {"value": 0.75, "low": 0.6, "high": 0.9, "n": 40},
        "auc": {"value": 0.8, "low": 0.7, "high": 0.9, "n": 40},
    },
}


def span(start: int, end: int) -> dict[str, Any]:
    return {"start": start, "end": end, "text": "", "total": 1.0}


def handmade(tokens: list[str], evidence: list[float], **more: Any) -> Highlight:
    """Make a highlight of consecutive tokens."""
    ends = [sum(map(len, tokens[: number + 1])) for number in range(len(tokens))]
    content: dict[str, Any] = {
        "text": "".join(tokens),
        "label": None,
        "tokens": tokens,
        "offsets": [(end - len(token), end) for end, token in zip(ends, tokens, strict=True)],
        "evidence": evidence,
        "positive": [],
        "negative": [],
        "grid": [-1.0, 0.0, 1.0],
        "log_likelihood": [-9.0, -7.0, -8.0],
        "posterior": [0.1, 0.6, 0.3],
        "best_strength": 0.2,
        "mean_strength": 0.2,
        "ratio": sum(evidence),
        "score": sum(evidence),
        "is_positive": sum(evidence) > 0.5,
    }
    return Highlight.model_validate(content | more)


def page(highlights: list[Highlight], max_texts: int = 10, **more: Any) -> Page:
    return Page(highlight_page(highlights, SUMMARY | more, facts={"steer": "s"}, max_texts=max_texts))


ONE = handmade(
    ["A", " warm", " and", " dull", " film", "."],
    [0.1, 2.0, 0.5, -3.0, 0.05, 0.0],
    positive=[span(1, 3)],
    negative=[span(3, 4)],
    label=0.5,
)


def test_pieces_are_the_text_and_its_evidence() -> None:
    shared = handmade(["a", "日", "日", "b"], [1.0, 0.5, 0.25, -1.0]).model_copy(
        update={"text": "a日b", "offsets": [(0, 1), (1, 2), (1, 2), (2, 3)]}
    )
    for highlight in (ONE, shared):
        pieces = text_pieces(highlight)
        assert "".join(piece.text for piece in pieces) == highlight.text
        assert sum(piece.evidence for piece in pieces) == pytest.approx(sum(highlight.evidence))
    assert [piece.evidence for piece in text_pieces(shared)] == [1, 0.75, -1]
    assert [piece.positive for piece in text_pieces(ONE)] == ["", "first", "inside", "", "", ""]
    assert [piece.ends_negative for piece in text_pieces(ONE)] == [False, False, False, True, False, False]


def test_a_span_that_begins_or_ends_inside_a_character_marks_the_whole_of_it() -> None:
    offsets = [(0, 1), (1, 2), (1, 2), (2, 3)]
    more = {"text": "a日b", "offsets": offsets}
    ends = handmade(["a", "日", "日", "b"], [1.0] * 4, positive=[span(0, 2)], negative=[span(2, 4)], **more)
    assert [piece.ends_positive for piece in text_pieces(ends)] == [False, True, False]
    assert [piece.negative for piece in text_pieces(ends)] == ["", "first", "inside"]
    assert highlight_line(ends, scale=1.0, colored=False) == "{+a[-日+}b-]"


def test_the_page_shows_every_token_with_its_evidence_and_its_span() -> None:
    content = page([ONE])
    spans = [tag for tag in content.all("span") if "title" in tag]
    evidence = [f"{value:+.2f}" if value else "0.00" for value in ONE.evidence]
    assert [tag["title"] for tag in spans] == [f"{value} nats" for value in evidence]
    assert ONE.text in content.text
    kinds = [(tag["class"] or "").split() for tag in spans]
    assert [("up" in kind, "down" in kind) for kind in kinds] == [(i in (1, 2), i == 3) for i in range(6)]
    assert [kind[0] for kind in kinds] == ["for", "for", "for", "against", "for", "against"]


def test_the_depth_of_a_color_follows_the_evidence() -> None:
    tags = [tag for tag in page([ONE]).all("span") if "title" in tag]
    depths = [float(str(tag["style"]).removeprefix("--depth: ")) for tag in tags]
    assert sorted(range(6), key=lambda index: depths[index]) == sorted(
        range(6), key=lambda index: abs(ONE.evidence[index])
    )
    assert min(depths) >= 0
    assert max(depths) <= 0.6


def test_scores_labels_and_curves_are_written_in_words() -> None:
    content = page([ONE, handmade(["so"], [0.0], label=0.0)])
    assert "score -0.35: not for sentiment · label +0.50, contradicts the decision" in content.text
    assert "score 0.00: not for sentiment · label 0.00 ·" in content.text
    assert "-2.0 at -1, 0.0 at +0, -1.0 at +1" in content.all("svg")[0]["aria-label"]  # type: ignore[operator]
    assert "Accuracy .750 [.600, .900] on 40 texts, 30 of them positive; AUC .800" in content.text
    assert "dummy +1" in content.text


def test_the_curve_runs_through_its_points_from_left_to_right() -> None:
    (line,) = page([ONE]).all("polyline")
    points = [tuple(map(float, point.split(","))) for point in str(line["points"]).split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert min(range(3), key=lambda index: points[index][1]) == 1  # upwards is less
    assert len(page([handmade(["a"], [1.0], log_likelihood=[-1.0] * 3)]).all("polyline")) == 1


def test_only_so_many_texts_are_on_the_page_and_the_page_says_so() -> None:
    content = page([ONE] * 5, max_texts=2)
    assert len(content.all("article")) == 2
    assert "The first 2 of 5 texts." in content.text
    assert "The first" not in page([ONE] * 2, max_texts=2).text


def test_the_scale_leaves_out_few_tokens_and_is_never_nothing() -> None:
    assert color_scale([handmade(["x"] * 101, [float(value) for value in range(101)])]) == pytest.approx(95)
    assert color_scale([handmade(["x"], [0.0])]) > 0
    assert color_scale([]) == 1


def test_a_line_has_its_spans_in_signs_and_no_color_unless_asked() -> None:
    assert highlight_line(ONE, scale=3.0, colored=False) == "A {+warm and+} [-dull-] film."
    colored = highlight_line(ONE, scale=3.0, colored=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == "A {+warm and+} [-dull-] film."
    assert re.findall(r"\x1b\[([0-9;]+)m(\w+)\x1b\[0m", colored) == [("38;5;33", "warm"), ("1;38;5;166", "dull")]


def test_a_text_cannot_talk_to_the_terminal() -> None:
    hostile = handmade(["\x1b[2J", "\r\n", "\x07 \u202e", "film"], [0.0] * 4)
    assert highlight_line(hostile, scale=1.0, colored=False) == r"\x1b[2J\r\n\x07 \u202efilm"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_that_may_have_colors_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert has_colors(Terminal())
    assert not has_colors(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colors(Terminal())
    monkeypatch.setenv("NO_COLOR", "")
    assert has_colors(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colors(Terminal())


def test_agreement_without_interval_or_auc_is_still_reported() -> None:
    alone = {"texts": 1, "positive": 1, "accuracy": {"value": 1.0, "low": None, "high": None, "n": 1}, "auc": None}
    assert agreement_sentence(SUMMARY | {"agreement": alone}) == (
        "accuracy 1.000 on 1 texts, 1 of them positive; threshold 0.5"
    )
