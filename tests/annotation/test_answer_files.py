"""Promises of imports: what was exported and answered in a tool comes back the same; what is wrong is one line."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.annotation.handmade_study import QUESTIONS, handmade_study, pair_items

from lmsteer.annotation.answer_files import read_answers
from lmsteer.annotation.answer_key import Study
from lmsteer.annotation.rater_answers import COLUMNS, Answer
from lmsteer.annotation.tool_exports import LABELS, exported_files
from lmsteer.errors import InputError

STUDY = handmade_study(pair_items(4))
DIGEST = STUDY.questionnaire.digest
CHOICES = ("a", "equal", "b", "a")
TABLE = [
    (item.id, question, CHOICES[(n + k) % 4])
    for n, item in enumerate(STUDY.questionnaire.items)
    for k, question in enumerate(QUESTIONS)
]
"""Answers of one rater: item, question, choice; each item took 4 seconds."""


def own_json(study: Study = STUDY, rater: str = "ann") -> dict[str, Any]:
    answers = [{"item": i, "question": q, "choice": c, "seconds": 2} for i, q, c in TABLE]
    return {
        "format": "lmsteer-answers",
        "questionnaire": study.questionnaire.digest,
        "rater": rater,
        "answers": answers,
    }


def by_item() -> dict[str, dict[str, str]]:
    items: dict[str, dict[str, str]] = {}
    for item, question, choice in TABLE:
        items.setdefault(item, {})[question] = choice
    return items


def write_json(folder: Path, content: object, name: str = "answers.json") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_own_json(folder: Path) -> Path:
    return write_json(folder, own_json())


def write_own_csv(folder: Path) -> Path:
    path = folder / "answers.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *((DIGEST, "ann", i, q, c, 2) for i, q, c in TABLE)])
    return path


def write_label_studio(folder: Path) -> Path:
    """The exported tasks with annotations as Label Studio adds them, one of them skipped."""
    tasks = json.loads(exported_files(STUDY.questionnaire)["label_studio/tasks.json"])
    for task in tasks:
        results = [
            {"from_name": q, "to_name": "prompt", "type": "choices", "value": {"choices": [LABELS[c]]}}
            for q, c in by_item()[task["data"]["item"]].items()
        ]
        annotation = {"completed_by": {"id": 1, "email": "ann"}, "lead_time": 4.0, "was_cancelled": False}
        task["annotations"] = [
            annotation | {"result": results},
            {"was_cancelled": True, "completed_by": 2, "result": []},
        ]
    return write_json(folder, tasks)


def write_argilla(folder: Path) -> Path:
    records = json.loads(exported_files(STUDY.questionnaire)["argilla/records.json"])
    for record in records:
        answers = by_item()[record["id"]].items()
        record["responses"] = {question: [{"value": choice, "user_id": "ann"}] for question, choice in answers}
    return write_json(folder, records)


def write_potato(folder: Path) -> Path:
    lines = exported_files(STUDY.questionnaire)["potato/items.jsonl"].splitlines()
    answers = by_item()
    labels = {
        id: [[{"schema": q, "name": LABELS[c]}, LABELS[c]] for q, c in answers[id].items()]
        for id in (json.loads(line)["id"] for line in lines)
    }
    times = {id: {"total_time_ms": 4000} for id in labels}
    state = {"user_id": "ann", "instance_id_to_label_to_value": labels, "instance_id_to_behavioral_data": times}
    write_json(folder, state, "output/ann/user_state.json")
    return folder / "output"


def write_crowd(folder: Path) -> Path:
    """The exported CSV as MTurk returns it: a row an assignment, inputs and answers with their prefixes."""
    path, letters = folder / "batch.csv", {"a": "a", "b": "b", "equal": "c"}
    rows = list(csv.DictReader(exported_files(STUDY.questionnaire)["crowd.csv"].splitlines()))
    lines = [
        {"HITId": "h", "AssignmentId": f"as{n}", "WorkerId": "ann", "WorkTimeInSeconds": "4"}
        | {f"Input.{name}": value for name, value in row.items()}
        | {f"Answer.q{q.capitalize()}": letters[c] for q, c in by_item()[row["prompt_id"]].items()}
        for n, row in enumerate(rows)
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


WRITERS = [write_own_json, write_own_csv, write_label_studio, write_argilla, write_potato, write_crowd]


@pytest.mark.parametrize("write", WRITERS)
def test_answers_come_back_from_every_tool(write: Callable[[Path], Path], tmp_path: Path) -> None:
    answers, study = read_answers([write(tmp_path)], STUDY)
    assert study == STUDY
    seconds = None if write is write_argilla else 2.0  # Argilla keeps no times
    assert sorted((replace(one, where="") for one in answers), key=str) == sorted(
        (Answer(item, "ann", question, choice, seconds) for item, question, choice in TABLE), key=str
    )


@pytest.mark.parametrize("write", WRITERS)
def test_answers_to_another_questionnaire_are_refused(write: Callable[[Path], Path], tmp_path: Path) -> None:
    other = handmade_study(pair_items(5)) if write is not write_potato else handmade_study({"j": pair_items(1)["i0"]})
    with pytest.raises(InputError, match=r"another questionnaire|is not in the questionnaire"):
        read_answers([write(tmp_path)], other)


@pytest.mark.parametrize("write", WRITERS)
def test_a_rater_who_answers_twice_is_refused(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(InputError, match=r"rater 'ann' answers toxic of i0 twice"):
        read_answers([path, path], STUDY)


DAMAGE: list[tuple[Callable[[Path], Path], str, str, str]] = [
    (write_own_json, '"i1"', '"i9"', "answer 3: item 'i9' is not in the questionnaire"),
    (write_own_json, '"toxic"', '"rude"', "answer 1: question 'rude'; one of toxic, fluent expected"),
    (write_own_json, '"seconds": 2', '"seconds": -2', "-2 seconds"),
    (write_own_json, '"seconds": 2', '"seconds": "x"', "seconds is 'x'"),
    (write_own_json, '"choice": "a"', '"choice": null', "answer 1: choice is None"),
    (write_own_json, '"rater": "ann"', '"rater": ["ann"]', "a rater and a list of answers"),
    (write_own_json, '"format"', '"formal"', "unknown kind of file"),
    (write_own_json, "{", "", "not JSON"),
    (write_own_csv, ",equal,", ",same,", "choice 'same'; one of a, equal, b expected"),
    (write_own_csv, ",2\r\n", "\r\n", "line 2: 5 fields; 6 expected"),
    (write_label_studio, '["A"]', '["A", "B"]', "task 1: damaged"),
    (write_label_studio, '"result"', '"results"', "task 1: damaged"),
    (write_argilla, '"user_id"', '"user"', "record 1: damaged"),
    (write_crowd, ",a,", ",d,", "a, b or c"),
    (write_crowd, "Answer.q", "Reply.q", "expected"),
]


@pytest.mark.parametrize(("write", "old", "new", "message"), DAMAGE)
def test_what_is_damaged_is_refused_in_one_line_that_says_where(
    write: Callable[[Path], Path], old: str, new: str, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path)
    content = path.read_bytes().decode()
    assert old in content
    path.write_bytes(content.replace(old, new).encode())
    with pytest.raises(InputError) as caught:
        read_answers([path], STUDY)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_state_of_potato_is_refused(tmp_path: Path) -> None:
    folder = write_potato(tmp_path)
    write_json(folder, {"user_id": "ann", "instance_id_to_label_to_value": {"i0": [["toxic"]]}}, "ann/user_state.json")
    with pytest.raises(InputError, match="item 1: damaged"):
        read_answers([folder], STUDY)
    (folder / "ann" / "user_state.json").unlink()
    with pytest.raises(InputError, match="no user_state"):
        read_answers([folder], STUDY)


def test_files_of_tools_hold_nothing_of_the_key_and_texts_are_escaped() -> None:
    files = exported_files(STUDY.questionnaire)
    config = ElementTree.fromstring(files["label_studio/labels.xml"])
    assert [one.get("name") for one in config.iter("Choices")] == list(QUESTIONS)
    assert [one.get("value") for one in config.iter("Choice")] == ["A", "Equal", "B"] * len(QUESTIONS)
    assert not list(config.iter("Pairwise"))
    for task, item in zip(json.loads(files["label_studio/tasks.json"]), STUDY.questionnaire.items, strict=True):
        assert (task["data"]["text_a"], task["data"]["text_b"]) == item.texts
    for row in csv.DictReader(files["crowd.csv"].splitlines()):
        assert row["sourcea"] == row["sourceb"] == row["idxa"] == row["toxa"] == ""
