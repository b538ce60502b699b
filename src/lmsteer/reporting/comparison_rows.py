"""The rows of a comparison in the order of a table: labels, sections and blocks of strings."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from lmsteer.reporting.comparison import UNKNOWN_MODEL, Comparison, ComparisonRow
from lmsteer.reporting.effects import total_strength
from lmsteer.reporting.text import MISSING

UNKNOWN_DECODING = "†"


@dataclass(frozen=True)
class Section:
    """Rows of a table under a heading, which is empty where they have none."""

    heading: str
    rows: list[list[str]]


@dataclass(frozen=True)
class Block:
    """A table: title, headings of the columns, rows, notes below."""

    title: str
    headings: list[str]
    sections: list[Section]
    notes: list[str]

    @property
    def rows(self) -> list[list[str]]:
        """All rows, those of each section after a row that holds only its heading."""
        return [
            row for section in self.sections for row in ([[section.heading]] if section.heading else []) + section.rows
        ]


def kind_label(comparison: Comparison, row: ComparisonRow) -> str:
    """Join method, model and settings, as far as they differ between rows."""
    models = {other.model for other in comparison.rows} - {UNKNOWN_MODEL}
    model = [row.model] if len(models) > 1 and row.model in models else []
    label = ", ".join([row.method, *model, *_differing(comparison, row)])
    return label if row.decoding_known else f"{label} {UNKNOWN_DECODING}"


def row_label(comparison: Comparison, row: ComparisonRow) -> str:
    """Join kind and strength."""
    return ", ".join(name for name in (kind_label(comparison, row), row.strength_label) if name)


def section_heading(row: ComparisonRow) -> str:
    """Name the section of a row: its budget, equal strength, or none for the plain model and other methods."""
    kind, _, value = row.budget.partition(" ")
    headings = {
        "kl": f"Equal KL: {value} nats per token",
        "perplexity": f"Equal perplexity: {value} of the plain model's",
    }
    return headings.get(kind, f"Equal {row.budget}") if row.budget else "Equal strength" if row.strength else ""


def in_table_order(comparison: Comparison, prompts: str) -> list[tuple[int, ComparisonRow]]:
    """Sort rows of a prompt set with their indices: plain, other methods, equal strength, KL, then perplexity."""

    def rank(item: tuple[int, ComparisonRow]) -> tuple[object, ...]:
        row = item[1]
        kind, _, value = row.budget.partition(" ")
        total = total_strength(row.strength)
        direction = math.copysign(1, total) if row.budget else total
        settings = [_sortable(value) for _, value in sorted(row.settings.items())]
        return (
            *(not row.is_plain, bool(row.strength), kind, _amount(value), direction),
            *(row.model, row.method, settings),
        )

    return sorted(((index, row) for index, row in enumerate(comparison.rows) if row.prompts == prompts), key=rank)


def _amount(value: str) -> tuple[float, str]:
    """Read the size of a budget."""
    digits = value.removeprefix("×")
    return _sortable(float(digits) if re.fullmatch(r"[\d.]+", digits) else value)


def _sortable(value: JsonValue) -> tuple[float, str]:
    """Sort numbers by size, then everything else by its letters."""
    return (value, "") if isinstance(value, int | float) else (math.inf, str(value))


def _differing(comparison: Comparison, row: ComparisonRow) -> list[str]:
    """List the settings of a row that some other row of its method does not share; each solver has its own."""
    trained = [other.settings for other in comparison.rows if other.settings and other.method == row.method]
    same_solver = [other for other in trained if other.get("solver") == row.settings.get("solver")]
    return [
        _setting(name, value)
        for name, value in row.settings.items()
        if any(other.get(name, value) != value for other in trained) or any(name not in other for other in same_solver)
    ]


def _setting(name: str, value: JsonValue) -> str:
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    if isinstance(value, dict):  # an optimizer or a scheduler with its options
        return " ".join([words, *(str(v) if key == "name" else _setting(key, v) for key, v in value.items())])
    return f"{words} {MISSING if value is None else f'{value:.4g}' if isinstance(value, float) else value}"


def grouped_sections(cells: Sequence[tuple[str, list[str]]]) -> list[Section]:
    """Group rows under their headings, in order."""
    rows_by_heading: dict[str, list[list[str]]] = {}
    for heading, row in cells:
        rows_by_heading.setdefault(heading, []).append(row)
    return [Section(heading, rows) for heading, rows in rows_by_heading.items()]
