"""The effect of a steer, against the plain model."""

from __future__ import annotations

from dataclasses import dataclass

from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import Result, ResultRow, Value


@dataclass(frozen=True)
class Effect:
    """A steered value beside the plain model's."""

    metric: Metric
    plain: Value
    steered: Value

    @property
    def change(self) -> str:
        """A difference of fractions, ``+.27``, or a ratio of perplexities, ``×1.2``."""
        return self.metric.change(before=self.plain.value, after=self.steered.value)

    @property
    def has_intervals(self) -> bool:
        """Whether both values have an interval."""
        return self.plain.low is not None and self.steered.low is not None

    @property
    def is_apart(self) -> bool:
        """Whether the two intervals share no value; never so where one is missing."""
        (a, b), (c, d) = (self.plain.low, self.plain.high), (self.steered.low, self.steered.high)
        if a is None or b is None or c is None or d is None:
            return False
        return b < c or d < a


def plain_row(result: Result, row: ResultRow) -> ResultRow | None:
    """The plain model's row for the same model and prompts, of the same seed where there is one."""
    rows = [r for r in result.rows if r.is_plain and (r.model, r.prompts) == (row.model, row.prompts)]
    return next((r for r in rows if r.seed == row.seed), rows[0] if rows else None)


def effect_of(result: Result, row: ResultRow, metric: Metric) -> Effect | None:
    """The effect in a metric; None for the plain model itself, or where either value is missing."""
    plain = plain_row(result, row)
    if row.is_plain or plain is None or metric.name not in row.metrics or metric.name not in plain.metrics:
        return None
    return Effect(metric=metric, plain=plain.metrics[metric.name], steered=row.metrics[metric.name])
