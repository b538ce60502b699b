"""Transforms against cases written by hand, and against the verifier."""

import pytest

from lmsteer.behaviours import NAMES, find_behaviour, verify
from lmsteer.behaviours.transforms import to_title, transform

FIVE = "Dr. Who came at 3 p.m. on Monday. Why? Nobody knew it. It cost $3.50. He left."
LONG = " ".join(f"{'word ' * 19}{number}." for number in range(8))  # 8 sentences of 20 words


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("They DON'T stop.", "They Don't Stop."),
        ("the O'BRIEN (nasa) “well-known” 3RD film", "The O'brien (Nasa) “Well-known” 3rd Film"),
        ("élan - and 50% more", "Élan - And 50% More"),
        ("a\n\n* list", "A\n\n* List"),
    ],
)
def test_title_case_by_hand(text: str, title: str) -> None:
    assert to_title(text) == title
    assert verify("case-title", title)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("case-lower", "NASA, Île 3RD", "nasa, île 3rd"),
        ("case-upper", "don't, straße", "DON'T, STRASSE"),
        ("sentences-1", FIVE, "Dr. Who came at 3 p.m. on Monday."),
        ("sentences-2", FIVE, "Dr. Who came at 3 p.m. on Monday. Why?"),
        ("sentences-5", FIVE, FIVE),
        ("sentences-3", "One. Two.", None),
        ("words-10-50", LONG, " ".join(LONG.split()[:40])),
        ("words-50-70", LONG, " ".join(LONG.split()[:60])),
        ("words-90-120", LONG, " ".join(LONG.split()[:120])),
        ("words-50-70", "word " * 90, None),
        ("words-10-50", "Too short.", None),
        ("case-upper", "3.14", None),
        ("language-fr", "The film is warm and funny.", None),
    ],
)
def test_transforms_by_hand(name: str, text: str, expected: str | None) -> None:
    assert transform(find_behaviour(name), text) == expected


@pytest.mark.parametrize("name", NAMES)
def test_what_is_returned_has_the_behaviour(name: str) -> None:
    for text in (FIVE, LONG, "1. One thing\n2. Another thing\n\n- and e.g. more…", "¿Qué? Ⅷ ǆ ß ª", "..."):
        changed = transform(find_behaviour(name), text)
        assert changed is None or verify(name, changed)
