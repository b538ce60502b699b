"""Compare several runs: average rows over seeds and test changes prompt by prompt."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import FinishedRun, refuse_mixed
from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import Cost, ResultRow, Unreached, strength_label
from lmsteer.metrics.intervals import Interval, bootstrap_interval
from lmsteer.metrics.paired_test import PairedChange, Sample, in_order, paired_change
from lmsteer.reporting.effects import total_strength
from lmsteer.steering.dimensions import DUMMY

LM_STEER = "lm-steer"
UNKNOWN_MODEL = "unknown"
"""Model of texts that this project did not generate; they are compared with the plain model if there is only one."""


@dataclass(frozen=True)
class Measurement:
    """A metric of a row.

    Attributes:
        interval: The value and its interval, after an average over seeds prompt by prompt.
        sd: Standard deviation over seeds; None for one seed.
        scorer: Name of the scorer, None for metrics without one.
        sample: The values of single prompts, averaged over seeds.
    """

    interval: Interval
    sd: float | None
    scorer: str | None
    sample: Sample


@dataclass(frozen=True)
class ComparisonRow:
    """Rows of results that differ only by the seed of the training.

    ``strengths`` has one entry for each seed; they are the same unless they were calibrated to ``budget``.
    ``decoding_known`` is False for texts that were generated elsewhere. ``costs`` has one entry for each seed, or none;
    so has ``fit_seconds``.
    """

    model: str
    method: str
    prompts: str
    settings: dict[str, JsonValue]
    budget: str
    strengths: tuple[dict[str, float], ...]
    seeds: tuple[int | None, ...]
    decoding_known: bool
    metrics: dict[str, Measurement]
    costs: tuple[Cost, ...] = ()
    fit_seconds: tuple[float | None, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether this is the plain model."""
        return self.method == "plain"

    @property
    def strength(self) -> dict[str, float]:
        """Mean over the seeds."""
        return {name: float(np.mean([strength[name] for strength in self.strengths])) for name in self.strengths[0]}

    @property
    def strength_label(self) -> str:
        """The strength in words, with its range where it differs between seeds; empty for the plain model."""
        labels = []
        for name, mean in self.strength.items():
            values = [strength[name] for strength in self.strengths]
            value_range = f" ({min(values):+.4g} to {max(values):+.4g})" if min(values) < max(values) else ""
            labels.append(strength_label({name: mean}) + value_range)
        return ", ".join(labels)


@dataclass(frozen=True)
class Comparison:
    """The rows of several runs and their changes from a reference row.

    Attributes:
        protocol: The protocol of the first run.
        references: Index of the reference row, by the index of the row that is compared with it.
        changes: Change from the reference row, by index of the row and name of the metric: differences of fractions,
            ratios of perplexities.
        unreached: Budgets that a method does not reach, each once for all seeds.
    """

    protocol: dict[str, JsonValue]
    rows: list[ComparisonRow]
    references: dict[int, int]
    changes: dict[tuple[int, str], PairedChange]
    unreached: tuple[Unreached, ...] = ()

    @property
    def metrics(self) -> list[Metric]:
        """Every metric of at least one row, in the order of columns."""
        return sorted({Metric(name) for row in self.rows for name in row.metrics}, key=lambda metric: metric.rank)


def compare_runs(runs: Sequence[FinishedRun], *, against: str = "") -> Comparison:
    """Compare runs of one protocol.

    Args:
        against: Reference row as ``METHOD`` or ``METHOD/ROW``, where ROW is its strength or budget. Of a method with
            several rows, each other row is compared with that of its own budget and direction, or of its own strength.
            Empty: the plain model.

    Raises:
        InputError: If the protocols of the runs differ, rows that differ only by seed have different prompts, two rows
            of one seed have different values, or ``against`` names no row or several rows of a prompt set.
    """
    refuse_mixed(runs)
    groups: dict[tuple[object, ...], list[_RunRow]] = {}
    for run in runs:
        for index, row in enumerate(run.result.rows):
            groups.setdefault(_identity(row), []).append(_RunRow(run, index, row))
    rows = [_average(_distinct(run_rows)) for run_rows in groups.values()]
    references = _references(rows, against)
    changes = {
        (index, name): paired_change(before.sample, after.sample, metric.statistic, ratio=not metric.is_fraction)
        for index, reference in references.items()
        for name, after in rows[index].metrics.items()
        if ((metric := Metric(name)).is_attribute or not metric.is_fraction)
        and (before := rows[reference].metrics.get(name)) is not None
    }
    unreached = {(u.method, u.budget, u.direction): u for run in runs for u in run.result.unreached}
    return Comparison(runs[0].result.protocol, rows, references, changes, tuple(unreached.values()))


def compare_rivals(runs: Sequence[FinishedRun], comparison: Comparison) -> Comparison | None:
    """Compare every other method with LM-Steer, row by row at the same cost or strength.

    Args:
        comparison: The comparison of the same runs with the plain model.

    Returns:
        None if there is no other trained method, or LM-Steer is there with more than one choice of settings.
    """
    methods = {row.method for row in comparison.rows if row.strength}
    settings = {json.dumps(row.settings, sort_keys=True) for row in comparison.rows if row.method == LM_STEER}
    return compare_runs(runs, against=LM_STEER) if len(methods) > 1 and len(settings) == 1 else None


@dataclass(frozen=True)
class _RunRow:
    """One row of one run."""

    run: FinishedRun
    index: int
    row: ResultRow

    def sample(self, metric: str) -> Sample:
        return self.run.sample(self.index, metric)

    def equals(self, other: _RunRow) -> bool:
        """Whether both have the same values on the same prompts, as the same texts do."""
        if self.row.metrics.keys() != other.row.metrics.keys():
            return False
        pairs = [(self.sample(name), other.sample(name)) for name in self.row.metrics]
        return all(a.prompts == b.prompts and np.array_equal(a.columns, b.columns, equal_nan=True) for a, b in pairs)


def _identity(row: ResultRow) -> tuple[object, ...]:
    """Return what rows have in common that differ only by the training seed."""
    if row.is_plain:
        return (row.model, row.prompts, row.method)
    strength = row.strength
    if row.budget:
        strength = {name: v if name == DUMMY else math.copysign(1, v) for name, v in strength.items()}
    settings = json.dumps(row.settings, sort_keys=True)
    return (row.model, row.prompts, row.method, settings, row.budget, *sorted(strength.items()))


def _distinct(run_rows: Sequence[_RunRow]) -> list[_RunRow]:
    """Choose one row for each seed; of the plain model, which has no seed, one for each set of texts."""
    distinct: list[_RunRow] = []
    for candidate in run_rows:
        row = candidate.row
        twins = [chosen for chosen in distinct if row.is_plain or chosen.row.seed == row.seed]
        if any(candidate.equals(chosen) for chosen in twins):
            continue
        if twins and not row.is_plain:
            raise InputError(
                f"{twins[0].run.folder} and {candidate.run.folder}: both have {row.method}, {row.label} of seed "
                f"{row.seed} on prompts {row.prompts!r}, but with different values; give only one of them"
            )
        distinct.append(candidate)
    return distinct


def _average(run_rows: Sequence[_RunRow]) -> ComparisonRow:
    first = run_rows[0].row
    return ComparisonRow(
        model=first.model,
        method=first.method,
        prompts=first.prompts,
        settings=first.settings,
        budget=first.budget,
        strengths=tuple(run_row.row.strength for run_row in run_rows),
        seeds=tuple(run_row.row.seed for run_row in run_rows),
        decoding_known=all(run_row.run.result.protocol.get("decoding") is not None for run_row in run_rows),
        metrics={
            name: _measurement(run_rows, Metric(name))
            for name in first.metrics
            if all(name in run_row.row.metrics for run_row in run_rows)
        },
        costs=tuple(run_row.row.cost for run_row in run_rows if run_row.row.cost is not None),
        fit_seconds=tuple(run_row.run.fit_seconds for run_row in run_rows if run_row.row.cost is not None),
    )


def _measurement(run_rows: Sequence[_RunRow], metric: Metric) -> Measurement:
    """Average columns over seeds prompt by prompt; a prompt counts with the seeds in which it has a value."""
    first, statistic = run_rows[0].sample(metric.name), metric.statistic
    try:
        samples = [Sample(first.prompts, tuple(in_order(r.sample(metric.name), first.prompts))) for r in run_rows]
    except InputError as error:
        folders = ", ".join(str(run_row.run.folder) for run_row in run_rows)
        raise InputError(f"{folders}: runs that differ by their seed: {error}") from None
    columns = np.array([sample.columns for sample in samples])
    present = ~np.isnan(columns)
    means = np.where(present, columns, 0).sum(0) / np.where(present.any(0), present.sum(0), np.nan)
    averaged = Sample(first.prompts, tuple(means))
    values = [float(statistic(*sample.complete, axis=-1)) for sample in samples]
    return Measurement(
        interval=bootstrap_interval(averaged.complete, statistic),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        scorer=run_rows[0].row.metrics[metric.name].scorer,
        sample=averaged,
    )


def _references(rows: Sequence[ComparisonRow], against: str) -> dict[int, int]:
    """Find the index of the reference row for each other row whose prompt set has one."""
    references: dict[int, int] = {}
    for index, row in enumerate(rows):
        candidates = [
            i for i, other in enumerate(rows) if other.prompts == row.prompts and _is_reference(row, other, against)
        ]
        if len(candidates) > 1:
            candidates = [i for i in candidates if _is_counterpart(row, rows[i])]
        if against and len(candidates) > 1:
            names = ", ".join(_names(rows[i])[-1] for i in candidates)
            raise InputError(f"against={against}: several rows on prompts {row.prompts!r}; allowed are {names}")
        if len(candidates) == 1 and candidates[0] != index:
            references[index] = candidates[0]
    if against and not references:
        names = ", ".join(dict.fromkeys(_names(row)[-1] for row in rows))
        raise InputError(f"against={against}: no such row with other rows to compare; allowed are {names}")
    return references


def _is_reference(row: ComparisonRow, other: ComparisonRow, against: str) -> bool:
    if against:
        return against in _names(other)
    return other.is_plain and row.model in (other.model, UNKNOWN_MODEL)


def _is_counterpart(row: ComparisonRow, other: ComparisonRow) -> bool:
    """Return whether two rows are of one budget and direction, or of one strength."""
    if row.budget != other.budget or row.model not in (other.model, UNKNOWN_MODEL):
        return False
    totals = total_strength(row.strength), total_strength(other.strength)
    return math.copysign(1, totals[0]) == math.copysign(1, totals[1]) if row.budget else totals[0] == totals[1]


def _names(row: ComparisonRow) -> list[str]:
    """List the names of a row on the command line, the fullest name last."""
    details = [row.strength_label, row.budget, f"{row.strength_label} ({row.budget})" if row.budget else ""]
    return [row.method, *(f"{row.method}/{detail}" for detail in details if detail)]
