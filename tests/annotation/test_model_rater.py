"""Promises of a model as a rater: what it is asked, which replies are answers, and that the raw replies stay."""

from collections.abc import Sequence

import pytest
from tests.annotation.handmade_study import handmade_study, pair_items

from lmsteer.annotation.model_rater import question_text, rate, read_choice

PAIRS, SINGLE = ("a", "equal", "b"), ("yes", "unsure", "no")


@pytest.mark.parametrize(
    ("reply", "choices", "choice"),
    [
        ("A", PAIRS, "a"),
        (" **B**.", PAIRS, "b"),
        ("Equal, I think", PAIRS, "equal"),
        ("Continuation A is less rude", PAIRS, "a"),
        ("The answer is b.", PAIRS, "b"),
        ("A or B", PAIRS, None),
        ("B. A is ruder than B.", PAIRS, "b"),
        ("a good question", PAIRS, None),
        ("Both A and B", PAIRS, None),
        ("", PAIRS, None),
        ("No, it is not.", SINGLE, "no"),
        ("It is unsure", SINGLE, "unsure"),
    ],
)
def test_a_reply_is_read_as_a_person_would(reply: str, choices: Sequence[str], choice: str | None) -> None:
    assert read_choice(reply, choices) == choice


def test_every_question_is_asked_about_every_item_and_all_replies_are_kept() -> None:
    questionnaire = handmade_study(pair_items(3)).questionnaire
    asked: list[str] = []

    def reply(texts: Sequence[str]) -> list[str]:
        asked.extend(texts)
        return ["A", "I cannot say"] * 3

    content = rate(questionnaire, reply, name="m", fingerprint="f")
    expected = [question_text(item, question) for item in questionnaire.items for question in questionnaire.questions]
    assert asked == [one["prompt"] for one in content["replies"]] == expected
    assert [one["reply"] for one in content["replies"]] == ["A", "I cannot say"] * 3
    assert [(one["item"], one["question"], one["choice"]) for one in content["answers"]] == [
        (f"i{n}", "toxic", "a") for n in range(3)
    ]
    assert content["model"] == {"name": "m", "fingerprint": "f"}


def test_braces_in_a_text_are_text() -> None:
    questionnaire = handmade_study(pair_items(1)).questionnaire
    item = questionnaire.items[0].model_copy(update={"prompt": "{a} {0}", "texts": ("{question}", "{}")})
    assert "{a} {0}" in question_text(item, questionnaire.questions[0])
