"""Promises of the writers of numbers, intervals and tables."""

import pytest
from markdown_it import MarkdownIt
from tests.handmade import value

from lmsteer.evaluation.metric_names import Metric
from lmsteer.reporting.text import (
    escape_latex,
    escape_markdown,
    escape_terminal,
    interval,
    latex_table,
    markdown_table,
    metric_interval,
    metric_number,
    number,
    percent,
    terminal_table,
)

HOSTILE = ["<b>x</b>", "a|b", "`x`", "[a](http://b)", "*a*", "_a_", "~~a~~", "$x$", "&lt;", "a\nb", "\\", "![a](b)"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (number(None), "–"),
        (number(-0.456), "-.46"),
        (number(10.25, 1), "10.2"),
        (interval({"value": 0.5, "low": None, "high": None}), ".50"),
        (interval(value(0.5, 0.4, 0.6), 1, signed=True), "+.5 [+.4, +.6]"),
        (metric_number(Metric("dist_1"), 1.0), "1.00"),
        (metric_number(Metric("perplexity"), 99.94), "99.9"),
        (metric_number(Metric("perplexity"), 99.95), "100"),
        (metric_interval(Metric("perplexity_corpus"), value(16.38, 9.0, 120.0)), "16.4 [9.0, 120]"),
        *zip(
            map(percent, (0.0, -1e-4, 0.004, 0.0951, -0.3)), ("0.0 %", "0.0 %", "0.4 %", "10 %", "-30 %"), strict=True
        ),
        (escape_terminal("\x1b[2J\r"), r"\x1b[2J\r"),
        (escape_latex("50% & a_b\n[c]"), r"50\% \& a\_b {[}c{]}"),
    ],
)
def test_numbers_and_signs_are_written_in_one_way(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize("text", HOSTILE)
def test_a_reader_of_markdown_sees_every_text_as_it_is(text: str) -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    (inline,) = (token for token in parser.parse(escape_markdown(text)) if token.type == "inline")
    assert "".join(child.content for child in inline.children or ()) == " ".join(text.split())
    assert {child.type for child in inline.children or ()} <= {"text", "text_special"}
    tokens = parser.parse(markdown_table(["name", "n"], [[text, "1"]]))
    assert [token.type for token in tokens].count("td_open") == 2


def test_a_row_of_one_cell_is_a_heading_of_the_rows_below() -> None:
    rows = [["plain", "1"], ["Equal KL"], ["lm-steer", "2"]]
    assert markdown_table(["method", "n"], rows).split("\n")[3] == "| **Equal KL** |     |"
    assert latex_table(["method", "n"], rows).count(r"\multicolumn{2}{l}{\textit{Equal KL}}") == 1
    assert markdown_table(["method"], [["plain"]]).split("\n")[2] == "| plain  |"


def test_headings_for_a_terminal_are_broken_between_words_but_not_before_an_arrow() -> None:
    assert terminal_table(["a", "long heading ↑"], [["x", "1"]]).split("\n") == [
        "a  long",
        "   heading ↑",
        "-  ---------",
        "x  1",
    ]


def test_a_cell_of_a_terminal_table_stays_on_its_line_and_commands_nothing() -> None:
    written = terminal_table(["name", "n\x1b"], [["a\x1b[2J\nb", "1"], ["c", "2"]])
    assert written.split("\n") == [r"name         n\x1b", "-----------  -----", r"a\x1b[2J\nb  1", "c            2"]
