"""The key of a questionnaire, in a file of its own: who wrote what, and which items are checks of the raters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field

from lmsteer.annotation.questionnaire import Questionnaire, Record, read_record, write_record
from lmsteer.errors import InputError

QUESTIONNAIRE, KEY = "questionnaire.json", "key.json"
Kind = Literal["main", "repeat", "swapped", "qualification"]


class ItemKey(Record):
    """Who wrote the texts of an item.

    Attributes:
        kind: main, or a check: a repeat, a repeat with A and B exchanged, or a qualification item.
        prompt: Name of the prompt; answers to items of one prompt are not independent.
        rows: Name of the row of each text, in the order shown; empty for a qualification item.
        samples: Index of each text among the continuations of its prompt.
        of: Id of the item that is repeated.
        expected: The right answers to a qualification item, by question.
        scores: By automatic scorer the score of each text, in the order shown.
    """

    kind: Kind = "main"
    prompt: str
    rows: tuple[str, ...] = ()
    samples: tuple[int, ...] = ()
    of: str = ""
    expected: dict[str, str] = Field(default_factory=dict)
    scores: dict[str, tuple[float, ...]] = Field(default_factory=dict)


class RowKey(Record):
    """The identity of a row: that of a row of ``metrics.json``, and the folder of its run."""

    run: str = ""
    model: str = ""
    method: str = ""
    prompts: str = ""
    strength: dict[str, float] = Field(default_factory=dict)
    budget: str = ""


class Key(Record):
    """The content of ``key.json``.

    Attributes:
        questionnaire: Digest of the questionnaire that it belongs to.
        pairs: The rows that are compared; answers are counted for the first one.
        rows: What is known of each row.
        protocol: Digest of the protocol of the runs.
    """

    format: Literal["lmsteer-key"] = "lmsteer-key"
    questionnaire: str
    pairs: tuple[tuple[str, str], ...] = ()
    rows: dict[str, RowKey]
    protocol: str = ""
    items: dict[str, ItemKey]


@dataclass(frozen=True)
class Study:
    """A questionnaire with its key."""

    questionnaire: Questionnaire
    key: Key

    @cached_property
    def pair_of(self) -> dict[frozenset[str], tuple[str, str]]:
        """The order of the rows of a pair."""
        return {frozenset(pair): pair for pair in self.key.pairs}

    def is_reversed(self, item: str) -> bool:
        """Whether A of an item is by the second row of its pair."""
        rows = self.key.items[item].rows
        return len(rows) == 2 and self.pair_of[frozenset(rows)] != rows


def write_study(folder: Path, study: Study) -> None:
    """Write questionnaire and key to a folder."""
    write_record(folder / KEY, study.key)
    write_record(folder / QUESTIONNAIRE, study.questionnaire)


def read_study(folder: Path) -> Study:
    """Read questionnaire and key of a folder.

    Raises:
        InputError: If one is missing or damaged, or they do not belong together.
    """
    study = Study(read_record(folder / QUESTIONNAIRE, Questionnaire), read_record(folder / KEY, Key))
    ids = {item.id for item in study.questionnaire.items}
    is_known = all(frozenset(item.rows) in study.pair_of for item in study.key.items.values() if len(item.rows) == 2)
    is_whole = study.key.items.keys() == ids and all(not i.of or i.of in ids for i in study.key.items.values())
    if study.key.questionnaire != study.questionnaire.digest or not (is_whole and is_known):
        raise InputError(f"{folder / KEY}: not the key of the {QUESTIONNAIRE} next to it")
    return study
