"""A study laid out as tables of strings, whatever they are written as."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from lmsteer.evaluation.metric_names import Metric
from lmsteer.metrics.paired_test import PairedChange
from lmsteer.reporting.comparison import UNKNOWN_MODEL, Comparison, ComparisonRow, Measurement
from lmsteer.reporting.published import Entry, Published, PublishedValue
from lmsteer.reporting.result_table import provenance
from lmsteer.reporting.series import DUMMY

ABSENT = "–"
UNKNOWN = "†"
READING = (
    "Each value with its 95 % bootstrap interval over prompts; where there are several training seeds, values of a "
    "prompt are averaged over them first, and ± is the standard deviation over them, about which the interval says "
    "nothing."
)
CHANGES = (
    "Differences of fractions and ratios of perplexities on the same prompts, with 95 % bootstrap intervals over "
    "prompts, and p of the paired permutation test, in which the two values of a prompt change places; no correction "
    "for the number of tests."
)
APART = (
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


def blocks(comparison: Comparison, others: Published | None) -> list[Block]:
    """Measured tables and their changes, one each a prompt set, then what is published, apart."""
    found = [
        block
        for prompts in dict.fromkeys(row.prompts for row in comparison.rows)
        for block in (_values(comparison, prompts), _changes(comparison, prompts))
        if block is not None
    ]
    entries = others.beside(comparison) if others else []
    if others and entries:
        found += [block for block in (_beside(comparison, entries), _published(others, entries)) if block is not None]
    return found


def kind_label(comparison: Comparison, row: ComparisonRow) -> str:
    """Method, and whatever of model and settings differs between rows."""
    models = {other.model for other in comparison.rows} - {UNKNOWN_MODEL}
    model = [row.model] if len(models) > 1 and row.model in models else []
    label = ", ".join([row.method, *model, *_differing(comparison, row)])
    return label if row.decoding_known else f"{label} {UNKNOWN}"


def row_label(comparison: Comparison, row: ComparisonRow) -> str:
    """Kind and strength."""
    return ", ".join(part for part in (kind_label(comparison, row), row.strength_label) if part)


def section_of(row: ComparisonRow) -> str:
    """What a row has in common with those it is compared with: nothing for the plain model and other methods."""
    kind, _, value = row.budget.partition(" ")
    named = {"kl": f"Equal KL: {value} nats per token", "perplexity": f"Equal perplexity: {value} of the plain model's"}
    return named.get(kind, f"Equal {row.budget}") if row.budget else "Equal strength" if row.strength else ""


def in_table_order(comparison: Comparison, prompts: str) -> list[tuple[int, ComparisonRow]]:
    """Rows of a prompt set with their places: plain, other methods, equal strength, equal KL, equal perplexity."""

    def rank(item: tuple[int, ComparisonRow]) -> tuple[object, ...]:
        row = item[1]
        kind, _, value = row.budget.partition(" ")
        total = sum(value for name, value in row.strength.items() if name != DUMMY)
        direction = math.copysign(1, total) if row.budget else total
        settings = [_sortable(value) for _, value in sorted(row.settings.items())]
        return (
            *(not row.is_plain, bool(row.strength), kind, _amount(value), direction),
            *(row.model, row.method, settings),
        )

    return sorted(((place, row) for place, row in enumerate(comparison.rows) if row.prompts == prompts), key=rank)


def _amount(value: str) -> tuple[float, str]:
    """The size of a budget."""
    number = value.removeprefix("×")
    return _sortable(float(number) if re.fullmatch(r"[\d.]+", number) else value)


def _sortable(value: JsonValue) -> tuple[float, str]:
    """Numbers by size, then all else by its letters."""
    return (value, "") if isinstance(value, int | float) else (math.inf, str(value))


def _differing(comparison: Comparison, row: ComparisonRow) -> list[str]:
    """The settings of a row that are not those of every other trained row."""
    trained = [other.settings for other in comparison.rows if other.settings]
    return [
        _setting(name, value)
        for name, value in row.settings.items()
        if any(name not in other or other[name] != value for other in trained)
    ]


def _setting(name: str, value: JsonValue) -> str:
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return f"{words} {ABSENT if value is None else value}"


def _values(comparison: Comparison, prompts: str) -> Block:
    """The layout of the paper: rows are methods, columns attributes by every scorer, perplexity, dist-n."""
    rows = in_table_order(comparison, prompts)
    metrics = [metric for metric in comparison.metrics if metric.base != "perplexity_corpus"]
    metrics = [metric for metric in metrics if any(metric.name in row.metrics for _, row in rows)]
    seeds = any(len(row.seeds) > 1 for _, row in rows)
    cells = [
        (
            section_of(row),
            [
                row_label(comparison, row),
                *([str(len(row.seeds)) if row.strength else ""] if seeds else []),
                *(_value(metric, row.metrics.get(metric.name)) for metric in metrics),
            ],
        )
        for _, row in rows
    ]
    headings = ["method", *(["seeds"] if seeds else []), *(metric.heading for metric in metrics)]
    parts = provenance({key: value for key, value in comparison.protocol.items() if key != "n_prompts"})
    n = max(measured.interval.n for _, row in rows for measured in row.metrics.values())
    size = f"{n} prompts × {comparison.protocol.get('samples')} samples"
    notes = [f"{'; '.join([size, *parts])}. {READING}"]
    if not all(row.decoding_known for _, row in rows):
        notes.append(f"{UNKNOWN} Texts from elsewhere: how the next token was chosen is not known.")
    return Block(f"Measured on {prompts}", headings, _sections(cells), notes)


def _changes(comparison: Comparison, prompts: str) -> Block | None:
    rows = [(place, row) for place, row in in_table_order(comparison, prompts) if place in comparison.references]
    metrics = [m for m in comparison.metrics if any((place, m.name) in comparison.changes for place, _ in rows)]
    if not rows or not metrics:
        return None
    names = {row_label(comparison, comparison.rows[comparison.references[place]]) for place, _ in rows}
    cells = [
        (
            section_of(row),
            [row_label(comparison, row), *(_change(m, comparison.changes.get((place, m.name))) for m in metrics)],
        )
        for place, row in rows
    ]
    title = f"Change from {names.pop() if len(names) == 1 else 'the plain model'} on {prompts}"
    return Block(title, ["method", *(_bare(metric) for metric in metrics)], _sections(cells), [CHANGES])


def _beside(comparison: Comparison, entries: Sequence[Entry]) -> Block | None:
    """Measured less published, where the protocol is the same."""
    rows = [
        [row_label(comparison, row), Metric(name).heading, f"{difference:+.3f}", entry.source]
        for entry in entries
        for row in comparison.rows
        if entry.is_of(row, comparison.protocol)
        for name, difference in entry.differences(row).items()
    ]
    note = "Only where table, size, model, strength and scorer have the same names."
    return (
        Block("Measured less published", ["method", "metric", "difference", "source"], [Section("", rows)], [note])
        if rows
        else None
    )


def _published(others: Published, entries: Sequence[Entry]) -> Block:
    names = {Metric(name) for entry in entries for name in entry.metrics}
    metrics = sorted(names, key=lambda metric: metric.rank)
    rows = [
        [
            entry.method,
            entry.model,
            f"{entry.table}, {entry.prompts or 'all prompts'}",
            "" if entry.strength is None else f"{entry.strength:+g}",
            *(_figure(metric, entry.metrics.get(metric.name)) for metric in metrics),
            f"{entry.source} {entry.year}",
        ]
        for entry in entries
    ]
    scorers = {
        metric: sorted({v.scorer for e in entries if (v := e.metrics.get(metric.name)) and v.scorer})
        for metric in metrics
    }
    headings = [f"{m.heading} ({', '.join(scorers[m])})" if scorers[m] else m.heading for m in metrics]
    sources = "; ".join(f"{name}: {others.sources[name]}" for name in dict.fromkeys(entry.source for entry in entries))
    notes = [APART, f"{sources}."]
    if any("Perspective" in names for names in scorers.values()):
        notes.append(others.drift.words)
    return Block("Published", ["method", "model", "table", "strength", *headings, "source"], [Section("", rows)], notes)


def _sections(cells: Sequence[tuple[str, list[str]]]) -> list[Section]:
    """Rows under their headings, in order."""
    found: dict[str, list[list[str]]] = {}
    for heading, row in cells:
        found.setdefault(heading, []).append(row)
    return [Section(heading, rows) for heading, rows in found.items()]


def _decimals(metric: Metric) -> int:
    return 3 if metric.is_attribute else 2


def _value(metric: Metric, measured: Measurement | None) -> str:
    if measured is None:
        return ABSENT
    interval, decimals = measured.interval, _decimals(metric)
    cell = metric.format(interval.value, decimals=decimals)
    if interval.low is not None and interval.high is not None:
        low, high = (metric.format(limit, decimals=decimals) for limit in (interval.low, interval.high))
        cell += f" [{low}, {high}]"
    return cell if measured.sd is None else f"{cell} ±{metric.format(measured.sd, decimals=decimals)}"


def _change(metric: Metric, change: PairedChange | None) -> str:
    if change is None:
        return ABSENT
    cell = _signed(metric, change.change)
    if change.low is not None and change.high is not None:
        cell += f" [{_signed(metric, change.low)}, {_signed(metric, change.high)}]"
    return f"{cell} p {'≤ .001' if change.p <= 0.001 else f'{change.p:.3f}'.removeprefix('0')}"


def _signed(metric: Metric, change: float) -> str:
    return f"{change:+.3f}".replace("0.", ".", 1) if metric.is_fraction else f"×{change:.2f}"


def _bare(metric: Metric) -> str:
    """A heading without the arrow, which is about values and not about changes."""
    return f"{metric.words} ({metric.scorer})" if metric.scorer else metric.words


def _figure(metric: Metric, figure: PublishedValue | None) -> str:
    if figure is None:
        return ABSENT
    decimals = _decimals(metric)
    cell = metric.format(figure.value, decimals=decimals) if metric.is_fraction else f"{figure.value:g}"
    return cell if figure.sd is None else f"{cell} ±{metric.format(figure.sd, decimals=decimals)}"
