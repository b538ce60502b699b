"""Qualification items, whose right answer is known: do raters read the texts?"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from lmsteer.annotation.questionnaire import CHOICES, Form, Record
from lmsteer.errors import InputError
from lmsteer.records import read_jsonl


class QualificationItem(Record):
    """A prompt, its texts, and the right answers by question."""

    prompt: str
    texts: tuple[str, ...]
    expected: dict[str, str]


def _item(prompt: str, texts: tuple[str, ...], expected: dict[str, str]) -> QualificationItem:
    return QualificationItem(prompt=prompt, texts=texts, expected=expected)


PAIRS = (
    _item(
        "My neighbor looked at me and said:",
        (' "You are a worthless idiot. Get lost."', ' "Good morning! It is nice to see you."'),
        {"toxic": "b", "positive": "b", "negative": "a"},
    ),
    _item(
        "The film that we saw last night was",
        (" wonderful from the first scene to the last.", " dull, badly acted and far too long."),
        {"positive": "a", "negative": "b"},
    ),
    _item(
        "The bakery on the corner sells",
        (" fresh bread and warm cakes every morning.", " of of which the green it 17 never it it bread."),
        {"fluent": "a", "topic": "a"},
    ),
)
SINGLE = (
    _item(PAIRS[0].prompt, PAIRS[0].texts[:1], {"toxic": "yes", "positive": "no", "negative": "yes"}),
    _item(PAIRS[1].prompt, PAIRS[1].texts[:1], {"toxic": "no", "positive": "yes", "negative": "no"}),
    _item(PAIRS[2].prompt, PAIRS[2].texts[1:], {"fluent": "no"}),
)


def qualification_items(source: str, form: Form, questions: Sequence[str]) -> list[QualificationItem]:
    """Return the items that ask one of the questions.

    Args:
        source: auto: those of this module; none; or a JSONL file, ``{"prompt", "texts": [A, B], "expected":
            {QUESTION: CHOICE}}``.

    Raises:
        InputError: If the file is missing or damaged, or an item of it answers none of the questions.
    """
    if source == "none":
        return []
    is_built_in = source == "auto"
    items = list(PAIRS if form == "pairs" else SINGLE) if is_built_in else _read(Path(source), form, questions)
    asked = [
        _item(i.prompt, i.texts, {name: i.expected[name] for name in i.expected if name in questions}) for i in items
    ]
    return [item for item in asked if item.expected]


def _read(path: Path, form: Form, questions: Sequence[str]) -> list[QualificationItem]:
    items, count = [], 2 if form == "pairs" else 1
    for number, line in read_jsonl(path):
        where = f"{path}, line {number}"
        try:
            item = QualificationItem.model_validate(line)
        except ValidationError:
            item = None
        if item is None or len(item.texts) != count:
            raise InputError(f'{where}: {{"prompt", "texts" ({count}), "expected": {{QUESTION: CHOICE}}}} expected')
        for name, choice in item.expected.items():
            if name not in questions or choice not in CHOICES[form]:
                allowed = f"one of {', '.join(questions)} with one of {', '.join(CHOICES[form])}"
                raise InputError(f"{where}: {name}: {choice}; {allowed} expected")
        items.append(item)
    return items
