"""Rows of several runs together: seeds are averaged, changes tested prompt by prompt."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import FinishedRun, refuse_mixed, statistic_of
from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import ResultRow, strength_label
from lmsteer.metrics.intervals import Interval, bootstrap_interval
from lmsteer.metrics.paired_test import PairedChange, Sample, in_order, paired_change
from lmsteer.reporting.series import DUMMY

UNKNOWN_MODEL = "unknown"
"""What wrote texts from elsewhere; they are compared with the plain model if there is but one."""


@dataclass(frozen=True)
class Measurement:
    """A metric of a row.

    Attributes:
        interval: Of the values averaged over seeds prompt by prompt.
        sd: Standard deviation over seeds; None for one seed.
        scorer: What judged the texts, None if nothing did.
        sample: The values of single prompts, averaged over seeds.
    """

    interval: Interval
    sd: float | None
    scorer: str | None
    sample: Sample


@dataclass(frozen=True)
class ComparisonRow:
    """Rows of results that differ by the seed of the training alone.

    ``strengths`` has one entry for each seed; they are the same unless they were calibrated to ``budget``.
    ``decoding_known`` is False for texts from elsewhere.
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

    @property
    def is_plain(self) -> bool:
        """Whether this is the plain model."""
        return self.method == "plain"

    @property
    def strength(self) -> dict[str, float]:
        """Mean over the seeds."""
        return {name: float(np.mean([own[name] for own in self.strengths])) for name in self.strengths[0]}

    @property
    def strength_label(self) -> str:
        """The strength to be read, where it differs between seeds with its range; empty for the plain model."""
        parts = []
        for name, mean in self.strength.items():
            values = [own[name] for own in self.strengths]
            spread = f" ({min(values):+.4g} to {max(values):+.4g})" if min(values) < max(values) else ""
            parts.append(strength_label({name: mean}) + spread)
        return ", ".join(parts)


@dataclass(frozen=True)
class Comparison:
    """All rows, and their changes.

    Attributes:
        protocol: That of the first run.
        references: For the place of a row, the place of the one with which it is compared.
        changes: From that one, by the place of the row and the name of the metric: differences of fractions, ratios of
            perplexities.
    """

    protocol: dict[str, JsonValue]
    rows: list[ComparisonRow]
    references: dict[int, int]
    changes: dict[tuple[int, str], PairedChange]

    @property
    def metrics(self) -> list[Metric]:
        """Every metric that some row has, in the order of columns."""
        return sorted({Metric(name) for row in self.rows for name in row.metrics}, key=lambda metric: metric.rank)


def compare_runs(runs: Sequence[FinishedRun], *, against: str = "") -> Comparison:
    """Put runs side by side.

    Args:
        against: ``METHOD`` or ``METHOD/ROW``: with which row the others are compared, ROW being its strength or budget;
            empty: with the plain model.

    Raises:
        InputError: If the runs are of different protocols, rows to be averaged have other prompts or have one seed and
            other values, or ``against`` names no row, or several of a prompt set.
    """
    refuse_mixed(runs)
    groups: dict[tuple[object, ...], list[_Member]] = {}
    for run in runs:
        for place, row in enumerate(run.result.rows):
            groups.setdefault(_identity(row), []).append(_Member(run, place, row))
    rows = [_together(_distinct(members)) for members in groups.values()]
    references = _references(rows, against)
    changes = {
        (place, name): paired_change(before.sample, after.sample, statistic_of(metric), ratio=not metric.is_fraction)
        for place, other in references.items()
        for name, after in rows[place].metrics.items()
        if ((metric := Metric(name)).is_attribute or not metric.is_fraction)
        and (before := rows[other].metrics.get(name)) is not None
    }
    return Comparison(runs[0].result.protocol, rows, references, changes)


@dataclass(frozen=True)
class _Member:
    """One row of one run."""

    run: FinishedRun
    place: int
    row: ResultRow

    def sample(self, metric: str) -> Sample:
        return self.run.sample(self.place, metric)

    def equals(self, other: _Member) -> bool:
        """Whether the same was measured on the same prompts: then it is the same texts."""
        if self.row.metrics.keys() != other.row.metrics.keys():
            return False
        pairs = [(self.sample(name), other.sample(name)) for name in self.row.metrics]
        return all(a.prompts == b.prompts and np.array_equal(a.columns, b.columns, equal_nan=True) for a, b in pairs)


def _identity(row: ResultRow) -> tuple[object, ...]:
    """What rows share that differ by the training seed alone."""
    if row.is_plain:
        return (row.model, row.prompts, row.method)
    strength = row.strength
    if row.budget:
        strength = {name: v if name == DUMMY else math.copysign(1, v) for name, v in strength.items()}
    settings = json.dumps(row.settings, sort_keys=True)
    return (row.model, row.prompts, row.method, settings, row.budget, *sorted(strength.items()))


def _distinct(members: Sequence[_Member]) -> list[_Member]:
    """Each seed once; of the plain model, which has none, each set of texts."""
    kept: list[_Member] = []
    for member in members:
        twins = [other for other in kept if member.row.is_plain or other.row.seed == member.row.seed]
        if any(member.equals(other) for other in twins):
            continue
        if twins and not member.row.is_plain:
            row = member.row
            raise InputError(
                f"{twins[0].run.folder} and {member.run.folder}: both have {row.method}, {row.label} of seed "
                f"{row.seed} on prompts {row.prompts!r}, but not the same values; give one of them"
            )
        kept.append(member)
    return kept


def _together(members: Sequence[_Member]) -> ComparisonRow:
    first = members[0].row
    return ComparisonRow(
        model=first.model,
        method=first.method,
        prompts=first.prompts,
        settings=first.settings,
        budget=first.budget,
        strengths=tuple(member.row.strength for member in members),
        seeds=tuple(member.row.seed for member in members),
        decoding_known=all(member.run.result.protocol.get("decoding") is not None for member in members),
        metrics={
            name: _measurement(members, Metric(name))
            for name in first.metrics
            if all(name in member.row.metrics for member in members)
        },
    )


def _measurement(members: Sequence[_Member], metric: Metric) -> Measurement:
    """Columns are averaged over seeds prompt by prompt; a prompt counts with the seeds in which it has a value."""
    first, statistic = members[0].sample(metric.name), statistic_of(metric)
    try:
        samples = [Sample(first.prompts, tuple(in_order(m.sample(metric.name), first.prompts))) for m in members]
    except InputError as error:
        folders = ", ".join(str(member.run.folder) for member in members)
        raise InputError(f"{folders}: runs that differ by their seed: {error}") from None
    columns = np.array([sample.columns for sample in samples])
    present = ~np.isnan(columns)
    means = np.where(present, columns, 0).sum(0) / np.where(present.any(0), present.sum(0), np.nan)
    together = Sample(first.prompts, tuple(means))
    single = [float(statistic(*sample.measured, axis=-1)) for sample in samples]
    return Measurement(
        interval=bootstrap_interval(together.measured, statistic),
        sd=float(np.std(single, ddof=1)) if len(single) > 1 else None,
        scorer=members[0].row.metrics[metric.name].scorer,
        sample=together,
    )


def _references(rows: Sequence[ComparisonRow], against: str) -> dict[int, int]:
    """Where the row of comparison is, for each row that is another one and whose prompt set has one."""
    found: dict[int, int] = {}
    for place, row in enumerate(rows):
        own = [i for i, other in enumerate(rows) if other.prompts == row.prompts and _compares(row, other, against)]
        if against and len(own) > 1:
            names = ", ".join(_names(rows[i])[-1] for i in own)
            raise InputError(f"--against {against}: several rows on prompts {row.prompts!r}; one of these: {names}")
        if len(own) == 1 and own[0] != place:
            found[place] = own[0]
    if against and not found:
        names = ", ".join(dict.fromkeys(_names(row)[-1] for row in rows))
        raise InputError(f"--against {against}: no such row beside others; one of these is expected: {names}")
    return found


def _compares(row: ComparisonRow, other: ComparisonRow, against: str) -> bool:
    if against:
        return against in _names(other)
    return other.is_plain and row.model in (other.model, UNKNOWN_MODEL)


def _names(row: ComparisonRow) -> list[str]:
    """What a row can be called on the command line, the fullest name last."""
    rest = [row.strength_label, row.budget, f"{row.strength_label} ({row.budget})" if row.budget else ""]
    return [row.method, *(f"{row.method}/{name}" for name in rest if name)]
