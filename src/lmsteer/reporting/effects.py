"""Effects of a steer against the plain model, and sentences that claim no more than their intervals show."""

from dataclasses import dataclass

from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import Result, ResultRow, Value
from lmsteer.reporting.text import metric_number, number
from lmsteer.steering.dimensions import DUMMY

COST = "perplexity"
"""The metric by which the price of an effect is reported."""


@dataclass(frozen=True)
class Effect:
    """A metric of the steered model and of the plain model."""

    metric: Metric
    plain: Value
    steered: Value

    @property
    def change(self) -> str:
        """The difference of fractions, ``+.27``, or the ratio of perplexities, ``×1.2``."""
        before, after = self.plain.value, self.steered.value
        return number(after - before, signed=True) if self.metric.is_fraction else f"×{after / before:.1f}"

    @property
    def has_intervals(self) -> bool:
        """Whether both values have an interval."""
        return self.plain.low is not None and self.steered.low is not None

    @property
    def is_disjoint(self) -> bool:
        """Whether the two intervals share no value; False where one is missing."""
        (a, b), (c, d) = (self.plain.low, self.plain.high), (self.steered.low, self.steered.high)
        if a is None or b is None or c is None or d is None:
            return False
        return b < c or d < a


def plain_row(result: Result, row: ResultRow) -> ResultRow | None:
    """Find the plain model's row for the same model and prompts, of the same seed where there is one."""
    rows = [r for r in result.rows if r.is_plain and (r.model, r.prompts) == (row.model, row.prompts)]
    return next((r for r in rows if r.seed == row.seed), rows[0] if rows else None)


def effect_of(result: Result, row: ResultRow, metric: Metric) -> Effect | None:
    """Compare a row with the plain model; None for the plain model itself, or where either value is missing."""
    plain = plain_row(result, row)
    if row.is_plain or plain is None or metric.name not in row.metrics or metric.name not in plain.metrics:
        return None
    return Effect(metric=metric, plain=plain.metrics[metric.name], steered=row.metrics[metric.name])


def summary_sentences(result: Result) -> list[str]:
    """Write a sentence for the strongest setting in either direction of each model, prompt set and seed.

    The settings are chosen by strength, not by effect. An effect is claimed only where the intervals of the steered
    and the plain model are disjoint.
    """
    attributes = [metric for metric in result.metrics if metric.is_attribute]
    if not attributes:
        return ["No attribute was measured, so nothing is said about the effect of the steer."]
    rows = _strongest_rows(result)
    if not rows:
        return ["No steered text was measured, so nothing is said about the effect of a steer."]
    first_attribute = [metric for metric in attributes if metric.base == attributes[0].base]
    return [_sentence(result, row, first_attribute) for row in rows]


def is_effect_metric(metric: Metric) -> bool:
    """Whether changes of a metric are reported: attributes, and the perplexity that they cost."""
    return metric.is_attribute or metric.base == COST


def total_strength(strength: dict[str, float]) -> float:
    """Add the strengths of all dimensions but the dummy."""
    return sum(value for name, value in strength.items() if name != DUMMY)


def _strongest_rows(result: Result) -> list[ResultRow]:
    """Choose the rows with the highest and the lowest total strength of each group, the highest first."""
    groups: dict[tuple[str, str, int | None], list[ResultRow]] = {}
    for row in result.rows:
        if row.strength:
            groups.setdefault((row.model, row.prompts, row.seed), []).append(row)
    strongest: list[ResultRow] = []
    for rows in groups.values():
        highest, lowest = (choose(rows, key=lambda row: total_strength(row.strength)) for choose in (max, min))
        has_both_directions = total_strength(lowest.strength) < 0 < total_strength(highest.strength)
        largest = max(rows, key=lambda row: abs(total_strength(row.strength)))
        strongest += [highest, lowest] if has_both_directions else [largest]
    return strongest


def _sentence(result: Result, row: ResultRow, metrics: list[Metric]) -> str:
    """Write ``At sentiment +5, positivity rises from .47 to .74 (…); perplexity goes from 16.4 to 33.6 (×2.0).``"""
    setting = f"At {row.label}"
    for field in ("model", "prompts", "seed"):
        if len({getattr(other, field) for other in result.rows}) > 1:
            setting += f", {field} {getattr(row, field)}"
    clauses = [_clause(effect) for metric in metrics if (effect := effect_of(result, row, metric))]
    if not clauses:
        return f"{setting}: the plain model was not measured with it, so no effect is quoted."
    if perplexity := effect_of(result, row, Metric(COST)):
        before, after = (metric_number(perplexity.metric, v.value) for v in (perplexity.plain, perplexity.steered))
        clauses.append(f"perplexity goes from {before} to {after} ({perplexity.change})")
    return f"{setting}, {'; '.join(clauses)}."


def _clause(effect: Effect) -> str:
    metric, scorer = effect.metric, effect.steered.scorer
    before, after = (metric_number(metric, value.value) for value in (effect.plain, effect.steered))
    subject = f"{metric.words} by {scorer}" if scorer else metric.words
    if effect.is_disjoint:
        verb = "rises" if effect.steered.value > effect.plain.value else "falls"
        points = f"{100 * (effect.steered.value - effect.plain.value):+.0f} points, 95 % intervals disjoint"
        return f"{subject} {verb} from {before} to {after} ({points})"
    reason = "95 % intervals overlap" if effect.has_intervals else "no intervals"
    return f"no effect on {subject} is shown: {after} against {before} ({reason})"
