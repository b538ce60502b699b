"""The effect of a steer: how much more often it is positive steered up than steered down, prompt by prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from lmsteer.evaluation.comparable import FinishedRun, refuse_mixed
from lmsteer.metrics.intervals import Array, Interval, bootstrap_interval


def effects(runs: Mapping[str, FinishedRun], direct: str) -> dict[str, Any]:
    """Rows, effects, and their share of the effect of the steer named ``direct``, if it is there, as plain values.

    Raises:
        InputError: If the runs were not measured in the same way.
    """
    refuse_mixed(list(runs.values()))
    first = next(iter(runs.values())).result
    metrics = [name for name in first.rows[0].metrics if name.partition("@")[0] == first.protocol["metric"]]
    budgets = {row.budget for run in runs.values() for row in run.result.rows if row.budget}
    whole = runs.get(direct)
    return {
        "protocol": first.protocol,
        "metrics": {metric: first.rows[0].metrics[metric].scorer for metric in metrics},
        "plain": {name: first.rows[0].metrics[name].model_dump() for name in [*metrics, "perplexity"]},
        "rows": [
            {
                "steer": name,
                "budget": row.budget,
                "strength": next(iter(row.strength.values())),
                **{metric: row.metrics[metric].model_dump() for metric in [*metrics, "perplexity", "dist_3"]},
            }
            for name, run in runs.items()
            for row in run.result.rows
            if row.budget
        ],
        "effects": [
            {"steer": name, "budget": budget, "metric": metric, **_effect(run, whole, budget, metric)}
            for budget in sorted(budgets)
            for metric in metrics
            for name, run in runs.items()
            if _both(run, budget, metric) is not None
        ],
    }


def _effect(run: FinishedRun, whole: FinishedRun | None, budget: str, metric: str) -> dict[str, Any]:
    """The effect of a steer, and its share of the whole one's if that is above 0, both with intervals over prompts."""
    own, other = _both(run, budget, metric), _both(whole, budget, metric) if whole else None
    assert own is not None
    share: Interval | None = None
    if other is not None and whole is not run and (bootstrap_interval(other, _difference).low or 0) > 0:
        share = bootstrap_interval([*own, *other], _ratio)
    return {
        "effect": asdict(bootstrap_interval(own, _difference)),
        "share": None if share is None else asdict(share),
    }


def _both(run: FinishedRun, budget: str, metric: str) -> list[Array] | None:
    """Values of every prompt, steered up and steered down; None where the budget was not reached both ways."""
    found: dict[bool, dict[str, float]] = {}
    for place, row in enumerate(run.result.rows):
        if row.budget == budget:
            sample = run.values[place]
            values = sample.values[metric].double().reshape(len(sample.prompts)).tolist()
            found[next(iter(row.strength.values())) > 0] = dict(zip(sample.prompts, values, strict=True))
    if len(found) < 2:
        return None
    prompts = sorted(found[True])
    return [np.array([found[up][prompt] for prompt in prompts]) for up in (True, False)]


def _difference(*columns: Array, axis: int) -> Array:
    up, down = columns
    found: Array = (up - down).mean(axis=axis)
    return found


def _ratio(*columns: Array, axis: int) -> Array:
    up, down, other_up, other_down = columns
    found: Array = (up - down).mean(axis=axis) / (other_up - other_down).mean(axis=axis)
    return found
