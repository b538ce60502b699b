"""Figures that others published, with their sources; they are shown apart from measured ones."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from lmsteer.reporting.comparison import Comparison, ComparisonRow
from lmsteer.reporting.series import DUMMY

SETS = {"real-toxicity-prompts": "nontoxic"}
"""Prompt sets that the published tables call otherwise."""
JOINT = {"sentiment": ("sentiment-positive", "sentiment-negative")}
"""Protocols that measure several published tables in one run."""


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PublishedValue(_Record):
    """A figure with its deviation over training seeds, if given, and what judged the texts, None if nothing did."""

    value: float
    sd: float | None = None
    scorer: str | None


class Entry(_Record):
    """One row of one published table, as far as it concerns one prompt set; None where it is about all, or not said.

    Metrics have the names and units of ``metrics.json``: fractions, not per cents.
    """

    table: str
    method: str
    model: str
    prompts: str | None
    n_prompts: int | None
    samples: int | None
    strength: float | None
    metrics: dict[str, PublishedValue]
    source: str
    year: int

    def is_of(self, row: ComparisonRow, protocol: dict[str, JsonValue]) -> bool:
        """Whether a measured row repeats this one: table and its size, model, method and strength are the same."""
        strengths = {value for name, value in row.strength.items() if name != DUMMY}
        left_out = protocol.get("duplicates_left_out")
        twice = left_out.get(row.prompts, 0) if isinstance(left_out, dict) else 0
        sizes = {len(measured.sample.prompts) + int(str(twice)) for measured in row.metrics.values()}
        name = str(protocol.get("name"))
        return (
            self.table in JOINT.get(name, (name,))
            and self.samples == protocol.get("samples")
            and self.prompts is not None
            and self.prompts in (row.prompts, SETS.get(row.prompts))
            and sizes == {self.n_prompts}
            and self.model == _last(row.model)
            and self.method.casefold() == row.method
            and not row.budget
            and strengths == (set() if self.strength is None else {self.strength})
        )

    def differences(self, row: ComparisonRow) -> dict[str, float]:
        """Measured less published, by metric, where the same scorer judged."""
        return {
            name: row.metrics[name].interval.value - own.value
            for name, own in self.metrics.items()
            if name in row.metrics and _last(row.metrics[name].scorer or "") == (own.scorer or "")
        }


class Rescored(_Record):
    """Expected maximum toxicity and toxicity probability of the same texts by Perspective, at two times."""

    method: str
    before: tuple[float, float]
    after: tuple[float, float]


class Drift(_Record):
    """What is known about Perspective's changes."""

    note: str
    rescored: list[Rescored]

    @property
    def words(self) -> str:
        """The note with its figures."""
        pairs = (f"{own.method} {_pair(own.before)} → {_pair(own.after)}" for own in self.rescored)
        return f"{self.note} {'; '.join(pairs)}."


class Published(_Record):
    """The whole of ``published.json``."""

    sources: dict[str, str]
    drift: Drift
    entries: list[Entry]

    def beside(self, comparison: Comparison) -> list[Entry]:
        """Entries of the table that was measured, in whatever size; without one, all that have an attribute of it."""
        table = re.sub("-(quick|offline)$", "", str(comparison.protocol.get("name")))
        same = [entry for entry in self.entries if entry.table == table]
        attributes = {metric.base for metric in comparison.metrics if metric.is_attribute}
        return same or [entry for entry in self.entries if attributes & entry.metrics.keys()]


@cache
def published() -> Published:
    """What the package brings along."""
    return Published.model_validate_json(Path(__file__).with_name("published.json").read_bytes(), strict=False)


def _last(name: str) -> str:
    """The name of a model without its organization or folder."""
    return name.rpartition("/")[2]


def _pair(values: tuple[float, float]) -> str:
    return "/".join(f"{value:.3f}".removeprefix("0") for value in values)
