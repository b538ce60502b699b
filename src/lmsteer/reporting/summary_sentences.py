"""The measured effect in words, no more than the intervals bear out."""

from __future__ import annotations

from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import Result, ResultRow
from lmsteer.reporting.effect import Effect, effect_of


def headline(result: Result) -> list[str]:
    """One sentence for the strongest setting in either direction of each model, prompt set and seed.

    The settings are chosen by strength, not by effect. An effect is claimed only where the intervals of the steered
    and the plain model are apart.
    """
    metrics = [metric for metric in result.metrics if metric.is_attribute]
    if not metrics:
        return ["No attribute was measured, so nothing is said about the effect of the steer."]
    chosen = _extremes(result)
    if not chosen:
        return ["No steered text was measured, so nothing is said about the effect of a steer."]
    first = [metric for metric in metrics if metric.base == metrics[0].base]
    return [_sentence(result, row, first) for row in chosen]


def _extremes(result: Result) -> list[ResultRow]:
    """Of each group, the rows with the highest and the lowest sum of strengths, the highest first."""
    groups: dict[tuple[str, str, int | None], list[ResultRow]] = {}
    for row in result.rows:
        if row.strength:
            groups.setdefault((row.model, row.prompts, row.seed), []).append(row)
    chosen: list[ResultRow] = []
    for rows in groups.values():
        highest, lowest = max(rows, key=_total), min(rows, key=_total)
        chosen += [highest, lowest] if _total(lowest) < 0 < _total(highest) else [max(rows, key=_size)]
    return chosen


def _total(row: ResultRow) -> float:
    return sum(value for name, value in row.strength.items() if name != "dummy")


def _size(row: ResultRow) -> float:
    return abs(_total(row))


def _sentence(result: Result, row: ResultRow, metrics: list[Metric]) -> str:
    """``At sentiment +5, positivity rises from .47 to .74 (…); perplexity goes from 16.4 to 33.6 (×2.0).``"""
    effects = [effect for metric in metrics if (effect := effect_of(result, row, metric))]
    place = "".join(
        f", {kind} {own}"
        for kind, own, several in (
            ("model", row.model, len({r.model for r in result.rows}) > 1),
            ("prompts", row.prompts, len({r.prompts for r in result.rows}) > 1),
            ("seed", row.seed, len({r.seed for r in result.rows}) > 1),
        )
        if several
    )
    if not effects:
        return f"At {row.label}{place}: the plain model was not measured beside it, so no effect is quoted."
    clauses = [_clause(effect) for effect in effects]
    perplexity = effect_of(result, row, Metric("perplexity"))
    if perplexity:
        before, after = (perplexity.metric.format(v.value) for v in (perplexity.plain, perplexity.steered))
        clauses.append(f"perplexity goes from {before} to {after} ({perplexity.change})")
    return f"At {row.label}{place}, {'; '.join(clauses)}."


def _clause(effect: Effect) -> str:
    metric, scorer = effect.metric, effect.steered.scorer
    before, after = (metric.format(value.value) for value in (effect.plain, effect.steered))
    what = f"{metric.words} by {scorer}" if scorer else metric.words
    if effect.is_apart:
        verb = "rises" if effect.steered.value > effect.plain.value else "falls"
        points = f"{100 * (effect.steered.value - effect.plain.value):+.0f} points, 95 % intervals apart"
        return f"{what} {verb} from {before} to {after} ({points})"
    reason = "95 % intervals overlap" if effect.has_intervals else "no intervals"
    return f"no effect on {what} is shown: {after} against {before} ({reason})"
