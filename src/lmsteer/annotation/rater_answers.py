"""Answers of raters, in the files that the page downloads; checks that hold for answers from anywhere."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmsteer.annotation.answer_key import Study
from lmsteer.data.readers.table import get_number, read_table
from lmsteer.errors import InputError

FORMAT = "lmsteer-answers"
COLUMNS = ("questionnaire", "rater", "item", "question", "choice", "seconds")


@dataclass(frozen=True)
class Answer:
    """A rater's answer to one question about one item.

    Attributes:
        seconds: Time that it took; None: unknown.
        where: Where it was read, for messages.
        is_model: Whether the rater is a language model.
    """

    item: str
    rater: str
    question: str
    choice: str
    seconds: float | None = None
    where: str = ""
    is_model: bool = False


def read_own_json(content: Mapping[str, Any], study: Study, path: Path) -> list[Answer]:
    """Read what the page downloads, or what a model answered.

    Raises:
        InputError: If an entry is missing or of a wrong kind, or it answers another questionnaire.
    """
    refuse_other_questionnaire(content.get("questionnaire"), study, str(path))
    entries, rater = content.get("answers"), content.get("rater")
    if not isinstance(entries, list) or not isinstance(rater, str):
        raise InputError(f"{path}: a rater and a list of answers expected")
    answers = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}, answer {number}"
        if not isinstance(entry, dict):
            raise InputError(f'{where}: {{"item", "question", "choice", "seconds"}} expected')
        answers.append(_answer({"rater": rater} | entry, where, is_model=content.get("model") is not None))
    return answers


def read_own_csv(path: Path, study: Study) -> list[Answer]:
    """Read the CSV that the page downloads.

    Raises:
        InputError: If a row is damaged, or answers another questionnaire; names the line.
    """
    answers = []
    for where, row in read_table(path, columns=COLUMNS):
        refuse_other_questionnaire(row["questionnaire"], study, where)
        rater = str(row["rater"])  # an apostrophe at its start says to a spreadsheet that it is no formula
        answers.append(_answer({**row, "rater": rater[1:] if rater.startswith("'") else rater}, where))
    return answers


def _answer(entry: Mapping[str, Any], where: str, is_model: bool = False) -> Answer:
    texts = {}
    for name in ("item", "rater", "question", "choice"):
        if not isinstance(entry.get(name), str) or not entry[name].strip():
            raise InputError(f"{where}: {name} is {entry.get(name)!r}; a text that is not empty is needed")
        texts[name] = entry[name]
    seconds = None if entry.get("seconds") in (None, "") else get_number(entry, "seconds", where)
    return Answer(**texts, seconds=seconds, where=where, is_model=is_model)


def refuse_other_questionnaire(digest: object, study: Study, where: str) -> None:
    """Refuse answers that say that they are of another questionnaire.

    Raises:
        InputError: If they are; names where.
    """
    if digest != study.questionnaire.digest:
        expected = f"{study.questionnaire.digest} expected"
        raise InputError(f"{where}: answers to another questionnaire ({str(digest)[:40]}); {expected}")


def check_answers(answers: Sequence[Answer], study: Study) -> None:
    """Check that answers are those of a questionnaire, and of each rater one to each question.

    Raises:
        InputError: If an item, question or choice is unknown, a time is negative, or a rater answers a question twice.
    """
    items, names = {item.id for item in study.questionnaire.items}, [q.name for q in study.questionnaire.questions]
    seen: dict[tuple[str, str, str], str] = {}
    for answer in answers:
        if answer.item not in items:
            raise InputError(f"{answer.where}: item {answer.item[:60]!r} is not in the questionnaire")
        for kind, value, allowed in (
            ("question", answer.question, names),
            ("choice", answer.choice, study.questionnaire.choices),
        ):
            if value not in allowed:
                raise InputError(f"{answer.where}: {kind} {value[:60]!r}; one of {', '.join(allowed)} expected")
        if answer.seconds is not None and answer.seconds < 0:
            raise InputError(f"{answer.where}: {answer.seconds:g} seconds; 0 or more expected")
        key = (answer.rater, answer.item, answer.question)
        if key in seen:
            rater, item, question = key
            raise InputError(f"{seen[key]} and {answer.where}: rater {rater!r} answers {question} of {item} twice")
        seen[key] = answer.where


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write CSV; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"'{c}" if isinstance(c, str) and c.startswith(("=", "+", "-", "@")) else c for c in row])
    return file.getvalue()
