"""Answers in the CSV of a crowd platform (MTurk), with DExperts' columns."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lmsteer.annotation.answer_key import ItemKey, Key, RowKey, Study
from lmsteer.annotation.questionnaire import KNOWN, Item, Question, Questionnaire
from lmsteer.annotation.rater_answers import Answer, refuse_other_questionnaire
from lmsteer.data.readers.table import LocatedRow, get_number, read_table
from lmsteer.errors import InputError

CHOICE_OF_LETTER = {"a": "a", "b": "b", "c": "equal"}
"""Answers of DExperts' page: A, B, or equal."""
QUESTION_COLUMN = re.compile(r"Answer\.q([A-Z][A-Za-z]*)")
INPUTS = ("prompt_id", "sentprefix", "sourcea", "senta", "idxa", "sourceb", "sentb", "idxb")
SCORES = {"tox": "toxicity", "label": "label"}
"""Names of the automatic scores that DExperts' files have of both texts."""
Row = Mapping[str, object]


def read_crowd_answers(path: Path, study: Study | None) -> tuple[list[Answer], Study]:
    """Read a file with the columns ``Input.…`` and ``Answer.q…``.

    Workers are raters if the file names them; else each assignment is a rater of its own.

    Args:
        study: The questionnaire that was given to the platform; None: the file says itself who wrote the texts.

    Raises:
        InputError: If a row is damaged or of another questionnaire, or without a study the texts of an item differ.
    """
    rows = list(read_table(path, columns=("AssignmentId", *(f"Input.{name}" for name in INPUTS))))
    questions = _questions(rows[0][1], path)
    is_own, answers = study is None, []
    study = study or _study_of(rows, questions.values())
    for where, row in rows:
        if "Input.questionnaire" in row:
            refuse_other_questionnaire(row["Input.questionnaire"], study, where)
        item, seconds = _own_name(row) if is_own else str(row["Input.prompt_id"]), None
        if row.get("WorkTimeInSeconds"):
            seconds = get_number(row, "WorkTimeInSeconds", where) / len(questions)
        for column, name in questions.items():
            letter = str(row[column]).strip().lower()
            if letter not in CHOICE_OF_LETTER:
                raise InputError(f"{where}: {column} is {row[column]!r}; a, b or c (equal) expected")
            rater = str(row.get("WorkerId") or row["AssignmentId"])
            answers.append(Answer(item, rater, name, CHOICE_OF_LETTER[letter], seconds, where))
    return answers, study


def _questions(row: Row, path: Path) -> dict[str, str]:
    names = {column: match[1].lower() for column in row if (match := QUESTION_COLUMN.fullmatch(column))}
    if not names:
        raise InputError(f"{path}: no column Answer.qNAME, such as Answer.qToxic")
    return names


def _own_name(row: Row) -> str:
    """Name an item by its prompt, rows and samples."""
    parts = "_".join(str(row[f"Input.{column}"]) for column in ("prompt_id", "sourcea", "idxa", "sourceb", "idxb"))
    return "c" + re.sub(r"[^a-z0-9]+", "_", parts.lower())


def _study_of(rows: Sequence[LocatedRow], questions: Iterable[str]) -> Study:
    """Make the questionnaire and the key of a file that has what both have."""
    items: dict[str, Item] = {}
    keys: dict[str, ItemKey] = {}
    for where, row in rows:
        prompt, a, b = (str(row[f"Input.{column}"]) for column in ("sentprefix", "senta", "sentb"))
        item = Item(id=_own_name(row), prompt=prompt, texts=(a, b))
        if items.setdefault(item.id, item) != item:
            raise InputError(f"{where}: other texts than an earlier row has for the same prompt, rows and samples")
        keys.setdefault(item.id, _item_key(row, where))
    questionnaire = Questionnaire(
        form="pairs",
        questions=tuple(
            KNOWN["pairs"].get(name, Question(name=name, text=name, words=f"more {name}")) for name in questions
        ),
        items=tuple(items.values()),
        pages=(tuple(items),),
        raters=max(1, round(len(rows) / len(items))),
        may_offend=True,
    )
    pairs = _ordered({key.rows for key in keys.values()})
    names = dict.fromkeys(name for pair in pairs for name in pair)
    key = Key(questionnaire=questionnaire.digest, pairs=pairs, rows={name: RowKey() for name in names}, items=keys)
    return Study(questionnaire, key)


def _item_key(row: Row, where: str) -> ItemKey:
    sources = str(row["Input.sourcea"]), str(row["Input.sourceb"])
    if not all(sources) or sources[0] == sources[1]:
        raise InputError(f"{where}: sourcea and sourceb are {sources[0]!r} and {sources[1]!r}; two rows expected")
    scores = {}
    for column, name in SCORES.items():
        if row.get(f"Input.{column}a") and row.get(f"Input.{column}b"):
            scores[name] = tuple(get_number(row, f"Input.{column}{side}", where) for side in "ab")
    samples = tuple(int(get_number(row, f"Input.idx{side}", where)) for side in "ab")
    return ItemKey(prompt=str(row["Input.prompt_id"]), rows=sources, samples=samples, scores=scores)


def _ordered(pairs: set[tuple[str, ...]]) -> tuple[tuple[str, str], ...]:
    """Put the row that is compared with the most others first, as the one that answers are counted for."""
    others: dict[str, set[str]] = {}
    for a, b in pairs:
        others.setdefault(a, set()).add(b)
        others.setdefault(b, set()).add(a)
    ranked = {frozenset(pair): tuple(sorted(pair, key=lambda row: (-len(others[row]), row))) for pair in pairs}
    return tuple((a, b) for a, b in sorted(ranked.values()))
