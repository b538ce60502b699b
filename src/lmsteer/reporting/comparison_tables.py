"""Lay out a comparison as tables of strings, for every format."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import Cost
from lmsteer.metrics.paired_test import PairedChange, holm
from lmsteer.reporting.comparison import UNKNOWN_MODEL, Comparison, ComparisonRow, Measurement
from lmsteer.reporting.effects import total_strength
from lmsteer.reporting.published import Entry, Published, PublishedValue
from lmsteer.reporting.result_table import provenance_clauses
from lmsteer.reporting.text import MISSING, interval, metric_interval, metric_number, number

UNKNOWN_DECODING = "†"
VALUES_NOTE = (
    "Each value with its 95 % bootstrap interval over prompts; where there are several training seeds, values of a "
    "prompt are averaged over them first, and ± is the standard deviation over them, which the interval does not "
    "include."
)
CHANGES_NOTE = (
    "Differences of fractions and ratios of perplexities on the same prompts, with 95 % bootstrap intervals over "
    "prompts, and p of the paired permutation test, which swaps the two values of a prompt; no correction for the "
    "number of tests."
)
HOLM_NOTE = (
    "Differences of fractions and ratios of perplexities on the same prompts, with 95 % bootstrap intervals over "
    "prompts, and p of the paired permutation test, which swaps the two values of a prompt, corrected for the number "
    "of rows of this table by Holm's method."
)
COST_NOTE = (
    "KL from the plain model per token on its own texts, mean and 95th percentile; passes through the model for each "
    "token; parameters that the fit has set, and those that writing needs beyond the model's own; texts and tokens "
    "that the fit has read, repetitions included. Means over the seeds."
)
PUBLISHED_NOTE = (
    "As published, not measured here: other hardware, code and scorers. Published perplexities leave out samples above "
    "10,000."
)


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


def blocks(comparison: Comparison, published: Published | None, rivals: Comparison | None = None) -> list[Block]:
    """Lay out measured values and their changes for each prompt set, then published figures in tables of their own.

    Args:
        rivals: The same rows, compared with LM-Steer.
    """
    prompt_sets = dict.fromkeys(row.prompts for row in comparison.rows)
    tables = [
        table for prompts in prompt_sets for table in (_values(comparison, prompts), changes(comparison, prompts))
    ]
    tables += [changes(rivals, prompts) for prompts in prompt_sets if rivals]
    tables += [_costs(comparison, prompts) for prompts in prompt_sets]
    if published and (entries := published.entries_for(comparison)):
        tables += [_differences_from_published(comparison, entries), _published(published, entries)]
    return [table for table in tables if table is not None]


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


def _values(comparison: Comparison, prompts: str) -> Block:
    """Lay out values as the paper does: rows are methods, columns attributes by every scorer, perplexity, dist-n."""
    rows = in_table_order(comparison, prompts)
    metrics = [metric for metric in comparison.metrics if metric.base != "perplexity_corpus"]
    metrics = [metric for metric in metrics if any(metric.name in row.metrics for _, row in rows)]
    has_seeds = any(len(row.seeds) > 1 for _, row in rows)
    cells = [
        (
            section_heading(row),
            [
                row_label(comparison, row),
                *([str(len(row.seeds)) if row.strength else ""] if has_seeds else []),
                *(_value_cell(metric, row.metrics.get(metric.name)) for metric in metrics),
            ],
        )
        for _, row in rows
    ]
    headings = ["method", *(["seeds"] if has_seeds else []), *(metric.heading for metric in metrics)]
    clauses = provenance_clauses({key: value for key, value in comparison.protocol.items() if key != "n_prompts"})
    n = max(measurement.interval.n for _, row in rows for measurement in row.metrics.values())
    size = f"{n} prompts × {comparison.protocol.get('samples')} samples"
    notes = [f"{'; '.join([size, *clauses])}. {VALUES_NOTE}"]
    if not all(row.decoding_known for _, row in rows):
        notes.append(f"{UNKNOWN_DECODING} Texts generated elsewhere, by an unknown decoding.")
    return Block(f"Measured on {prompts}", headings, _sections(cells), notes)


def changes(comparison: Comparison, prompts: str) -> Block | None:
    """Lay out the changes from the reference rows; p is corrected where the reference is a method, not the model."""
    references = comparison.references
    rows = [(index, row) for index, row in in_table_order(comparison, prompts) if index in references]
    metrics = [m for m in comparison.metrics if any((index, m.name) in comparison.changes for index, _ in rows)]
    if not rows or not metrics:
        return None
    names = {row_label(comparison, comparison.rows[references[index]]) for index, _ in rows}
    found = [[comparison.changes.get((index, metric.name)) for index, _ in rows] for metric in metrics]
    is_corrected = not any(comparison.rows[references[index]].is_plain for index, _ in rows)
    columns = [_corrected(column) if is_corrected else column for column in found]
    cells = [
        (
            section_heading(row),
            [row_label(comparison, row), *map(_change_cell, metrics, of_row)],
        )
        for (_, row), of_row in zip(rows, zip(*columns, strict=True), strict=True)
    ]
    # An arrow tells where values improve, not changes.
    headings = [f"{metric.words} ({metric.scorer})" if metric.scorer else metric.words for metric in metrics]
    reference = names.pop() if len(names) == 1 else "the plain model"
    if is_corrected and names:
        reference = f"{comparison.rows[references[rows[0][0]]].method} at the same cost or strength"
    note = HOLM_NOTE if is_corrected else CHANGES_NOTE
    return Block(f"Change from {reference} on {prompts}", ["method", *headings], _sections(cells), [note])


def _corrected(column: Sequence[PairedChange | None]) -> list[PairedChange | None]:
    """Correct the p-values of a column for their number."""
    known = [change for change in column if change is not None]
    p_values = iter(holm([change.p for change in known]))
    return [None if change is None else replace(change, p=next(p_values)) for change in column]


def _costs(comparison: Comparison, prompts: str) -> Block | None:
    """Lay out what the rows cost, and the budgets that are out of reach."""
    rows = [row for _, row in in_table_order(comparison, prompts) if row.costs]
    if not rows:
        return None
    cells = [(section_heading(row), [row_label(comparison, row), *_cost_cells(row.costs)]) for row in rows]
    notes = [COST_NOTE]
    if comparison.unreached:
        reasons = [
            f"{one.method} {'+' if one.direction > 0 else '-'} ({one.budget}): {one.reason}"
            for one in comparison.unreached
        ]
        notes.append(f"Out of reach, so without a row: {'; '.join(reasons)}.")
    headings = ["method", "KL", "KL p95", "passes", "trained", "held", "texts read", "tokens read"]
    return Block(f"Cost on {prompts}", headings, _sections(cells), notes)


def _cost_cells(costs: Sequence[Cost]) -> list[str]:
    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    divergences = [mean([getattr(cost, name) for cost in costs]) for name in ("kl", "kl_p95")]
    names = ("passes", "trained_parameters", "inference_parameters", "train_rows", "train_tokens")
    counts = [mean([getattr(cost, name) for cost in costs]) for name in names]
    return [
        *(MISSING if value is None else f"{value:.3f}" for value in divergences),
        *(MISSING if value is None else f"{value:,.0f}" for value in counts),
    ]


def _differences_from_published(comparison: Comparison, entries: Sequence[Entry]) -> Block | None:
    """Subtract published from measured values, where the protocol is the same."""
    rows = [
        [row_label(comparison, row), Metric(name).heading, f"{difference:+.3f}", entry.source]
        for entry in entries
        for row in comparison.rows
        if entry.is_of(row, comparison.protocol)
        for name, difference in entry.differences(row).items()
    ]
    headings = ["method", "metric", "difference", "source"]
    note = "Only where table, size, model, strength and scorer have the same names."
    return Block("Measured minus published", headings, [Section("", rows)], [note]) if rows else None


def _published(published: Published, entries: Sequence[Entry]) -> Block:
    names = {Metric(name) for entry in entries for name in entry.metrics}
    metrics = sorted(names, key=lambda metric: metric.rank)
    rows = [
        [
            entry.method,
            entry.model,
            f"{entry.table}, {entry.prompts or 'all prompts'}",
            "" if entry.strength is None else f"{entry.strength:+g}",
            *(_published_cell(metric, entry.metrics.get(metric.name)) for metric in metrics),
            f"{entry.source} {entry.year}",
        ]
        for entry in entries
    ]
    scorers = {
        metric: sorted({v.scorer for e in entries if (v := e.metrics.get(metric.name)) and v.scorer})
        for metric in metrics
    }
    headings = [f"{m.heading} ({', '.join(scorers[m])})" if scorers[m] else m.heading for m in metrics]
    sources = dict.fromkeys(entry.source for entry in entries)
    notes = [PUBLISHED_NOTE, f"{'; '.join(f'{name}: {published.sources[name]}' for name in sources)}."]
    if any("Perspective" in names for names in scorers.values()):
        notes.append(published.drift.words)
    return Block("Published", ["method", "model", "table", "strength", *headings, "source"], [Section("", rows)], notes)


def _sections(cells: Sequence[tuple[str, list[str]]]) -> list[Section]:
    """Group rows under their headings, in order."""
    rows_by_heading: dict[str, list[list[str]]] = {}
    for heading, row in cells:
        rows_by_heading.setdefault(heading, []).append(row)
    return [Section(heading, rows) for heading, rows in rows_by_heading.items()]


def _digits(metric: Metric) -> int:
    return 3 if metric.is_attribute else 2


def _value_cell(metric: Metric, measurement: Measurement | None) -> str:
    if measurement is None:
        return MISSING
    cell = metric_interval(metric, measurement.interval, _digits(metric))
    return cell if measurement.sd is None else f"{cell} ±{metric_number(metric, measurement.sd, _digits(metric))}"


def _change_cell(metric: Metric, change: PairedChange | None) -> str:
    if change is None:
        return MISSING
    limits = {"value": change.change, "low": change.low, "high": change.high}
    cell = interval(limits, 3, signed=True) if metric.is_fraction else interval(limits, write=lambda x: f"×{x:.2f}")
    return f"{cell} p {'≤ .001' if change.p <= 0.001 else number(change.p, 3)}"


def _published_cell(metric: Metric, figure: PublishedValue | None) -> str:
    if figure is None:
        return MISSING
    digits = _digits(metric)
    cell = number(figure.value, digits) if metric.is_fraction else f"{figure.value:g}"
    return cell if figure.sd is None else f"{cell} ±{metric_number(metric, figure.sd, digits)}"
