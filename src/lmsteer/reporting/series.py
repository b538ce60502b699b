"""A metric along the strength: what curves and their descriptions are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import Result, ResultRow, Value, strength_label
from lmsteer.reporting.effect import plain_row

DUMMY = "dummy"


@dataclass(frozen=True)
class Line:
    """One metric along the strength of one dimension, all else being equal; ``label`` tells it from other lines."""

    metric: Metric
    label: str
    x: list[float]
    values: list[Value]


def swept_dimension(result: Result) -> str | None:
    """The dimension with the most values, the first by name if several have; None where no strength differs."""
    names = sorted({name for row in result.rows for name in row.strength}, key=lambda name: (name == DUMMY, name))
    values = {name: {row.strength.get(name, 0.0) for row in result.rows} for name in names}
    best = max(names, key=lambda name: len(values[name]), default="")
    return best if len(values.get(best, ())) > 1 else None


def lines_of(result: Result, metrics: Sequence[Metric]) -> list[Line]:
    """Each metric along the swept dimension, by rising strength; rows that differ in anything else are other lines.

    The plain model stands at 0 of each line in which nothing but the dummy is on beside the swept dimension.
    """
    dimension = swept_dimension(result)
    if dimension is None:
        return []
    groups: dict[tuple[object, ...], list[ResultRow]] = {}
    for row in result.rows:
        if row.strength:
            rest = tuple(sorted((name, value) for name, value in row.strength.items() if name != dimension))
            groups.setdefault((row.model, row.prompts, row.seed, rest), []).append(row)
    lines = []
    for metric in metrics:
        for rows in groups.values():
            points = _points(result, rows, metric, dimension)
            if points:
                label = _label(result, rows[0], metric, dimension, several=len(groups) > 1)
                lines.append(Line(metric, label, list(points), list(points.values())))
    return lines


def _points(result: Result, rows: Sequence[ResultRow], metric: Metric, dimension: str) -> dict[float, Value]:
    """Values by rising strength."""
    points = {row.strength.get(dimension, 0.0): row.metrics[metric.name] for row in rows if metric.name in row.metrics}
    plain = plain_row(result, rows[0])
    alone = not set(rows[0].strength) - {dimension, DUMMY}
    if points and alone and plain is not None and metric.name in plain.metrics:
        points.setdefault(0.0, plain.metrics[metric.name])
    return dict(sorted(points.items()))


def _label(result: Result, row: ResultRow, metric: Metric, dimension: str, *, several: bool) -> str:
    """Metric and scorer, and whatever differs between groups of rows."""
    scorer = row.metrics[metric.name].scorer if metric.name in row.metrics else None
    parts = [metric.words, scorer or metric.scorer] if metric.is_attribute else []
    if several:
        traits = [_traits(other, dimension) for other in result.rows if other.strength]
        differing = zip(_traits(row, dimension), zip(*traits, strict=True), strict=True)
        parts += [own for own, all_of_them in differing if len(set(all_of_them)) > 1]
    return ", ".join(part for part in parts if part)


def _traits(row: ResultRow, dimension: str) -> tuple[str, ...]:
    """What may tell a line from another one."""
    rest = {name: value for name, value in row.strength.items() if name != dimension}
    return (row.model, row.prompts, f"seed {row.seed}", strength_label(rest))
