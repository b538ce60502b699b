"""Promises of the study of schedules, on a tiny chat model."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.chat import write_chat_model
from tests.handmade_commands import study_config

from experiments.behaviours.length_pairs import end_of_turn_pairs, first_sentences, full_stop_pairs
from experiments.behaviours.schedules import BEHAVIOURS, hits, measure_schedules
from lmsteer.errors import InputError
from lmsteer.generation.generator import Generator
from lmsteer.records import Generation, Prompt, Row, read_generations

WORDS = ["film", "story", "night", "people", "storm", "dull", "slow", "warm", "funny", "long"]
ANSWER = "The film is dull, and the night is long. It is warm.\n\nNobody came. They would know. I would"
TURNS = (("user", "Who came?"),)


def test_pairs_are_beginnings_of_the_answer_as_it_is_written() -> None:
    plain = [Generation(Prompt(str(k), "Who came?", TURNS), (ANSWER,), {}) for k in range(3)]
    short = ["The film is dull, and the night is long.", "The film is dull, and the night is long. It is warm."]
    third = "The film is dull, and the night is long. It is warm.\n\nNobody came."
    rows = list(end_of_turn_pairs(plain))
    assert rows == [row for text in (*short, third) for row in (Row(text, 1.0, TURNS), Row(ANSWER, -1.0, TURNS))]
    stops = list(full_stop_pairs(plain[:1]))
    assert stops == [Row("The film is dull.", 1.0, TURNS), Row(short[0], -1.0, TURNS)]
    assert first_sentences(ANSWER, 9) == ANSWER
    assert not list(end_of_turn_pairs([Generation(Prompt("a", "Who?", TURNS), ("Me. You.",), {})]))


def test_the_study_measures_every_behaviour_and_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions, run = tmp_path / "questions.jsonl", tmp_path / "run"
    lines = [f"The {WORDS[k % 10]} {WORDS[k // 10]}{'?' if k % 2 else '.'}" for k in range(40)]
    questions.write_text("".join(json.dumps({"question": line}) + "\n" for line in lines), encoding="utf-8")
    options = [
        f"file={questions}",
        "model=hf",
        f"model.id={write_chat_model(tmp_path / 'model')}",
        "dtype=float32",
    ]
    options += ["train_questions=24", "dev_questions=6", "test_questions=8", "decoding.max_new_tokens=24", "steps=4"]
    config = study_config("behaviours", f"run_dir={run}", *options, "kl=0.0001", name="schedules")
    original = Generator._text
    # A random model writes no sentences, from which pairs could be taken.
    monkeypatch.setattr(
        Generator,
        "_text",
        lambda self, *ids: f"{ANSWER} know why it is far too long for us then {original(self, *ids).split()[:2]}",
    )
    results = measure_schedules(config)
    assert [row["behaviour"] for row in results["lengths"]] == list(BEHAVIOURS)
    for row in results["lengths"]:
        change = row["schedule"]["accuracy"]["value"] - row["constant"]["accuracy"]["value"]
        assert row["difference"]["value"] == pytest.approx(change)
    gate = results["gate"]
    assert gate["open"]["n"] + gate["closed"]["n"] == 8
    assert gate["closed"]["as_plain"] == gate["closed"]["n"]
    assert gate["open"]["as_constant"] == gate["open"]["n"]
    first = read_generations(next(run.glob("test*.jsonl")))
    assert set(np.unique(hits("sentences-5", first))) <= {0.0, 1.0}
    times = {path: path.stat().st_mtime_ns for path in run.glob("*.jsonl")}
    (run / "schedules.json").unlink()
    assert measure_schedules(config) == results, "a resumed study reads what it has written"
    assert {path: path.stat().st_mtime_ns for path in run.glob("*.jsonl")} == times


def test_too_few_questions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"question": "Who?"}\n', encoding="utf-8")
    options = [f"run_dir={tmp_path / 'run'}", f"file={tmp_path / 'q.jsonl'}", "model=tiny"]
    config = study_config("behaviours", *options, name="schedules")
    with pytest.raises(InputError, match=r"q\.jsonl: 300 questions expected; it has 1"):
        measure_schedules(config)
