"""A questionnaire with a key that is known, and answers to it."""

from collections.abc import Mapping, Sequence

from lmsteer.annotation.answer_key import ItemKey, Key, RowKey, Study
from lmsteer.annotation.questionnaire import KNOWN, Form, Item, Questionnaire
from lmsteer.annotation.rater_answers import Answer

QUESTIONS = ("toxic", "fluent")


def handmade_study(keys: Mapping[str, ItemKey], *, form: Form = "pairs", raters: int = 2) -> Study:
    """Make a study of items whose texts say nothing."""
    rows = dict.fromkeys(row for key in keys.values() for row in key.rows)
    pairs = dict.fromkeys(tuple(sorted(key.rows)) for key in keys.values() if len(key.rows) == 2)
    questionnaire = Questionnaire(
        form=form,
        questions=tuple(KNOWN[form][name] for name in QUESTIONS),
        items=tuple(
            Item(
                id=name,
                prompt=f"prompt {key.prompt}",
                texts=tuple(f"text {n} <b>&\"'" for n in range(len(key.rows) or 2)),
            )
            for name, key in keys.items()
        ),
        pages=(tuple(keys),),
        raters=raters,
        may_offend=True,
    )
    return Study(
        questionnaire,
        Key(
            questionnaire=questionnaire.digest,
            pairs=tuple((a, b) for a, b in pairs),
            rows={row: RowKey(method=row) for row in rows},
            items=dict(keys),
        ),
    )


def pair_items(count: int, rows: tuple[str, str] = ("x", "y")) -> dict[str, ItemKey]:
    """Make items of one pair, two of each prompt; every other one shows the second row first."""
    return {
        f"i{n}": ItemKey(prompt=str(n // 2), rows=rows[:: -1 if n % 2 else 1], samples=(n, n)) for n in range(count)
    }


def answers_of(rater: str, choices: Mapping[str, str], questions: Sequence[str] = ("toxic",)) -> list[Answer]:
    """Make the answers of a rater, by item the same one to every question."""
    return [
        Answer(item, rater, question, choice, 2.0, f"{rater}, {item}")
        for item, choice in choices.items()
        for question in questions
    ]
