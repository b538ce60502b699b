"""Answers joined with the key: who was preferred to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmsteer.annotation.answer_key import Kind, Study
from lmsteer.annotation.questionnaire import CHOICES
from lmsteer.annotation.rater_answers import Answer

OUTCOMES = ("win", "tie", "loss")
"""For the first row of a pair: preferred, equal, not preferred. In the form single: yes, unsure, no."""


@dataclass(frozen=True)
class Judgement:
    """An answer, and what it says of the rows.

    Attributes:
        item: Id of the item; of a repeat, that of the item that it repeats.
        rows: The rows of the item in the order of its pair; one in the form single.
        shown: The choice as it was given.
        outcome: What it says of the first row.
        preferred: Name of the row that the answer is for, or the choice itself where it is for none.
    """

    answer: Answer
    item: str
    kind: Kind
    prompt: str
    rows: tuple[str, ...]
    shown: str
    outcome: str
    preferred: str

    @property
    def question(self) -> str:
        """Name of the question."""
        return self.answer.question

    @property
    def rater(self) -> str:
        """Name of the rater."""
        return self.answer.rater


def join_judgements(answers: Sequence[Answer], study: Study) -> list[Judgement]:
    """Join checked answers with the key; qualification items have no rows and are left out."""
    choices = CHOICES[study.questionnaire.form]
    judgements = []
    for answer in answers:
        key = study.key.items[answer.item]
        if key.kind == "qualification":
            continue
        is_reversed = study.is_reversed(answer.item)
        rows = key.rows[::-1] if is_reversed else key.rows
        index = choices.index(answer.choice)
        outcome = OUTCOMES[2 - index if is_reversed else index]
        preferred = answer.choice if len(rows) == 1 or outcome == "tie" else rows[0 if outcome == "win" else 1]
        item = key.of or answer.item
        judgements.append(Judgement(answer, item, key.kind, key.prompt, rows, answer.choice, outcome, preferred))
    return judgements
