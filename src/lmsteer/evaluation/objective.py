"""Values of a run that a sweeper optimizes, by the names under which they are logged."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lmsteer.errors import InputError
from lmsteer.evaluation.final_values import final_values, setting_name
from lmsteer.evaluation.metric_names import METRICS, Metric, attribute_metrics
from lmsteer.evaluation.results import Cost, Result

if TYPE_CHECKING:
    from lmsteer.evaluation.plan import Plan
    from lmsteer.evaluation.protocol import Protocol

Direction = Literal["minimize", "maximize"]
OF_THE_FIT: dict[str, Direction] = {"dev/loss": "minimize", "dev/control": "maximize"}
"""Names of the values of a fit, its lowest dev loss and its highest AUC on dev rows, with the better direction."""


def check_objectives(names: Sequence[str], plan: Plan | None, directions: Sequence[str] = ()) -> None:
    """Refuse objectives that a run will not have, before it begins.

    Args:
        names: ``METRIC/SETTING`` as in ``final_values``, where the name of the dimension may be left out, as in
            ``positivity/+5``; or one of ``OF_THE_FIT``.
        plan: What will be measured. None: nothing.
        directions: ``minimize`` or ``maximize`` for each name, as the sweeper has them. Empty: no sweeper optimizes.

    Raises:
        InputError: If a name is unknown or stands for several values, the directions are not as many as the names, or
            one of them leads to the worst value.
    """
    if directions and len(directions) != len(names):
        raise InputError(
            f"objective={', '.join(names)}: hydra.sweeper.direction has {len(directions)}; one for each expected"
        )
    planned: dict[str, Direction | None] = {**OF_THE_FIT, **(planned_values(plan) if plan else {})}
    dimensions = [plan.dimension, *plan.fixed_strengths] if plan else []
    for index, name in enumerate(names):
        better = planned[_matching(name, planned, dimensions)]
        if directions and better and directions[index] != better:
            raise InputError(
                f"objective={name}: hydra.sweeper.direction={directions[index]} looks for the worst; {better} expected"
            )


def objective_values(
    names: Sequence[str], result: Result | None, curve: Mapping[str, Sequence[Any]] | None = None
) -> tuple[float, ...]:
    """Return values of a run by their names, as ``check_objectives`` takes them.

    Args:
        result: What was measured. None: nothing.
        curve: Values of the fit by split, each a list of (step, value). None: there are none.

    Raises:
        InputError: If the run has no such value, or several.
    """
    dev, control = ([value for _, value in (curve or {}).get(split, ())] for split in ("dev", "control"))
    values = ({"dev/loss": min(dev)} if dev else {}) | ({"dev/control": max(control)} if control else {})
    values |= final_values(result) if result else {}
    dimensions = {dimension for row in result.rows for dimension in row.strength} if result else set[str]()
    unreached = result.unreached if result else []
    missing = ", ".join(f"{one.budget} in the direction {one.direction:+d}" for one in unreached)
    return tuple(values[_matching(name, values, dimensions, missing)] for name in names)


def planned_values(plan: Plan) -> dict[str, Direction | None]:
    """Name the values that a plan will measure, each with the direction that is better. None: neither is.

    At a strength below 0 the attribute shall fall. A budget has values only if it is reached.
    """
    reached = [
        plan.identity() | {"budget": budget.label, "strength": float(direction)}
        for budget in plan.protocol.budgets()
        for direction in plan.protocol.directions()
    ]
    values: dict[str, Direction | None] = {}
    for key, prompts in plan.sets.items():
        for strength, budget in [({}, ""), *plan.settings(key, reached)]:
            setting = setting_name(strength, budget, prompts.name if len(plan.sets) > 1 else "")
            is_negative = min(strength.values(), default=0.0) < 0
            values |= {f"{metric.name}/{setting}": _better(metric, is_negative) for metric in _metrics(plan.protocol)}
            if strength:
                values |= dict.fromkeys([f"cost/{name}/{setting}" for name in Cost.model_fields], "minimize")
    return values


def _metrics(protocol: Protocol) -> Iterable[Metric]:
    for number, scorer in enumerate(protocol.scorers.values()):
        for facts in attribute_metrics(protocol.metric):
            yield Metric(facts.name + (f"@{scorer.name}" if number else ""))
    yield from (Metric(facts.name) for facts in METRICS.values() if facts.group != "attribute")


def _better(metric: Metric, is_negative: bool) -> Direction | None:
    higher = metric.facts.higher_is_better
    if higher is None:
        return None
    return "maximize" if higher != (metric.is_attribute and is_negative) else "minimize"


def _matching(name: str, names: Collection[str], dimensions: Collection[str], missing: str = "") -> str:
    """Return the one name that is meant; the dimensions in it may have been left out."""
    pattern = re.compile(rf"(?<=[/,])({'|'.join(map(re.escape, dimensions)) or '(?!)'})(?=[+-])")
    matching = [one for one in names if name in (one, pattern.sub("", one))]
    if len(matching) != 1:
        reason = f" (not reached: {missing})" if missing else ""
        raise InputError(f"objective={name}: one of {', '.join(names) or 'no values'} expected{reason}")
    return matching[0]
