"""Lay out a comparison as tables of strings, for every format."""

from collections.abc import Sequence
from dataclasses import replace

from lmsteer.evaluation.metric_names import Metric
from lmsteer.metrics.paired_test import PairedChange, holm
from lmsteer.reporting.comparison import Comparison, ComparisonRow, Measurement
from lmsteer.reporting.comparison_rows import (
    UNKNOWN_DECODING,
    Block,
    Section,
    grouped_sections,
    in_table_order,
    row_label,
    section_heading,
)
from lmsteer.reporting.cost_table import cost_block
from lmsteer.reporting.measured_speed import MeasuredSpeed
from lmsteer.reporting.published import Entry, Published, PublishedValue
from lmsteer.reporting.result_table import provenance_clauses
from lmsteer.reporting.text import MISSING, interval, metric_interval, metric_number, number

VALUES_NOTE = (
    "Each value with its 95 % bootstrap interval over prompts; where there are several training seeds, values of a "
    "prompt are averaged over them first, and ± is the standard deviation over them, which the interval does not "
    "include."
)
ONE_FIT_NOTE = f"{MISSING} One fit, without a standard deviation: the method has no training seed, or it is unknown."
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
PUBLISHED_NOTE = (
    "As published, not measured here: other hardware, code and scorers. Published perplexities leave out samples above "
    "10,000."
)


def blocks(
    comparison: Comparison,
    published: Published | None,
    rivals: Comparison | None = None,
    speed: MeasuredSpeed | None = None,
) -> list[Block]:
    """Lay out measured values and their changes for each prompt set, then published figures in tables of their own.

    Args:
        rivals: The same rows, compared with LM-Steer.
        speed: What the speed study has measured, for the tables of costs.
    """
    prompt_sets = dict.fromkeys(row.prompts for row in comparison.rows)
    tables = [
        table for prompts in prompt_sets for table in (_values(comparison, prompts), changes(comparison, prompts))
    ]
    tables += [changes(rivals, prompts) for prompts in prompt_sets if rivals]
    tables += [cost_block(comparison, prompts, speed) for prompts in prompt_sets]
    if published and (entries := published.entries_for(comparison)):
        tables += [_differences_from_published(comparison, entries), _published(published, entries)]
    return [table for table in tables if table is not None]


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
                *([_n_seeds(row)] if has_seeds else []),
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
    if has_seeds and any(_n_seeds(row) == MISSING for _, row in rows):
        notes.append(ONE_FIT_NOTE)
    if not all(row.decoding_known for _, row in rows):
        notes.append(f"{UNKNOWN_DECODING} Texts generated elsewhere, by an unknown decoding.")
    return Block(f"Measured on {prompts}", headings, grouped_sections(cells), notes)


def _n_seeds(row: ComparisonRow) -> str:
    """Return the number of training seeds of a row; empty for the plain model and for texts without a strength."""
    return "" if not row.strength else MISSING if row.seeds == (None,) else str(len(row.seeds))


def changes(comparison: Comparison, prompts: str) -> Block | None:
    """Lay out the changes from the reference rows; p is corrected where the reference is a method, not the model."""
    references = comparison.references
    rows = [(index, row) for index, row in in_table_order(comparison, prompts) if index in references]
    metrics = [m for m in comparison.metrics if any((index, m.name) in comparison.changes for index, _ in rows)]
    if not rows or not metrics:
        return None
    names = {row_label(comparison, comparison.rows[references[index]]) for index, _ in rows}
    measured = [[comparison.changes.get((index, metric.name)) for index, _ in rows] for metric in metrics]
    is_corrected = not any(comparison.rows[references[index]].is_plain for index, _ in rows)
    columns = [_corrected(column) if is_corrected else column for column in measured]
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
    return Block(f"Change from {reference} on {prompts}", ["method", *headings], grouped_sections(cells), [note])


def _corrected(column: Sequence[PairedChange | None]) -> list[PairedChange | None]:
    """Correct the p-values of a column for their number."""
    known = [change for change in column if change is not None]
    p_values = iter(holm([change.p for change in known]))
    return [None if change is None else replace(change, p=next(p_values)) for change in column]


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
