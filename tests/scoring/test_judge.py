"""Promises of the judge: ratings out of replies, which are kept, and are asked for once."""

import json
from pathlib import Path

import pytest
from tests.chat import chat_model

from lmsteer.generation.generator import Generator
from lmsteer.models.language_model import LanguageModel
from lmsteer.scoring.judge import Judge

QUESTION, ANSWER = "Who came?", "Nobody."


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("4", 4),
        (" 5.", 5),
        ("Rating: 3/5", 3),
        ("**2**", 2),
        ("0", None),
        ("45", None),
        ("3.5", None),
        ("good", None),
        ("", None),
    ],
)
def test_a_rating_is_the_first_number_that_stands_alone(reply: str, rating: int | None) -> None:
    assert Judge.rating(reply) == rating


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return chat_model()


def test_stored_replies_are_used_and_new_ones_kept(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = "Rate it. {question} {answer}"  # the tiny model reads 128 tokens
    monkeypatch.setattr("lmsteer.scoring.judge.REQUEST", short)
    path, request = tmp_path / "judge.jsonl", short.format(question=QUESTION, answer=ANSWER)
    line = {"request": request, "reply": "I say 4", "judge": model.fingerprint()}
    path.write_text(json.dumps(line | {"judge": "another", "reply": "1"}) + "\n" + json.dumps(line) + "\n")
    judge = Judge(model, path)
    assert judge.ratings([QUESTION, QUESTION], [ANSWER, "A storm came."])[0] == 4
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert lines[:2] == [line | {"judge": "another", "reply": "1"}, line]
    assert [entry["request"] for entry in lines[2:]] == [short.format(question=QUESTION, answer="A storm came.")]
    monkeypatch.setattr(Generator, "run", None)  # whatever is known is not asked again
    assert Judge(model, path).ratings([QUESTION], ["A storm came."]) == [Judge.rating(lines[2]["reply"])]
