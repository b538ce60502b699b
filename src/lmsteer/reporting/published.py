"""Figures published by others, with their sources; they have tables of their own."""

import re
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from lmsteer.reporting.comparison import Comparison, ComparisonRow
from lmsteer.reporting.text import number
from lmsteer.steering.dimensions import DUMMY

PUBLISHED_PROMPT_SETS = {"real-toxicity-prompts": "nontoxic"}
"""Names of prompt sets in the published tables, where they differ."""
JOINT_TABLES = {"sentiment": ("sentiment-positive", "sentiment-negative")}
"""Published tables that a protocol measures in one run, where they are several."""


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PublishedValue(_Record):
    """A figure with its standard deviation over training seeds and its scorer; None for a missing one."""

    value: float
    sd: float | None = None
    scorer: str | None


class Entry(_Record):
    """A row of a published table for one prompt set; a field is None where the table does not specify it.

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
        duplicates = left_out.get(row.prompts, 0) if isinstance(left_out, dict) else 0
        sizes = {len(measurement.sample.prompts) + int(str(duplicates)) for measurement in row.metrics.values()}
        name = str(protocol.get("name"))
        return (
            self.table in JOINT_TABLES.get(name, (name,))
            and self.samples == protocol.get("samples")
            and self.prompts is not None
            and self.prompts in (row.prompts, PUBLISHED_PROMPT_SETS.get(row.prompts))
            and sizes == {self.n_prompts}
            and self.model == _last(row.model)
            and self.method.casefold() == row.method
            and not row.budget
            and strengths == (set() if self.strength is None else {self.strength})
        )

    def differences(self, row: ComparisonRow) -> dict[str, float]:
        """Subtract published from measured values, by metric, where the scorer is the same."""
        return {
            name: row.metrics[name].interval.value - figure.value
            for name, figure in self.metrics.items()
            if name in row.metrics and _last(row.metrics[name].scorer or "") == (figure.scorer or "")
        }


class Rescored(_Record):
    """Expected maximum toxicity and toxicity probability of the same texts by Perspective, at two times."""

    method: str
    before: tuple[float, float]
    after: tuple[float, float]


class Drift(_Record):
    """Changes of the scores of Perspective over time."""

    note: str
    rescored: list[Rescored]

    @property
    def words(self) -> str:
        """The note with its figures."""
        pairs = (f"{texts.method} {_pair(texts.before)} → {_pair(texts.after)}" for texts in self.rescored)
        return f"{self.note} {'; '.join(pairs)}."


class Published(_Record):
    """The content of ``published.json``."""

    sources: dict[str, str]
    drift: Drift
    entries: list[Entry]

    def entries_for(self, comparison: Comparison) -> list[Entry]:
        """Choose the entries of the measured table in any size, else all entries with one of its attributes."""
        table = re.sub("-(quick|offline)$", "", str(comparison.protocol.get("name")))
        same = [entry for entry in self.entries if entry.table == table]
        attributes = {metric.base for metric in comparison.metrics if metric.is_attribute}
        return same or [entry for entry in self.entries if attributes & entry.metrics.keys()]


@cache
def published() -> Published:
    """Read the figures that the package contains."""
    return Published.model_validate_json(Path(__file__).with_name("published.json").read_bytes(), strict=False)


def _last(name: str) -> str:
    """Return the name of a model without its organization or folder."""
    return name.rpartition("/")[2]


def _pair(values: tuple[float, float]) -> str:
    return "/".join(number(value, 3) for value in values)
