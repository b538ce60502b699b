"""Name the values of a result, for loggers and sweepers."""

import re

from lmsteer.errors import InputError
from lmsteer.evaluation.results import Result


def final_values(result: Result) -> dict[str, float]:
    """Name the values of a result ``metric/setting``, and its costs ``cost/NAME/setting``.

    A setting is a strength or a budget with its direction, after the prompt set where there are several.
    """
    has_sets = len({row.prompts for row in result.rows}) > 1
    values: dict[str, float] = {}
    for row in result.rows:
        sign = "-" if min(row.strength.values(), default=0.0) < 0 else "+"
        strength = ",".join(f"{name}{value:+g}" for name, value in row.strength.items()) or "plain"
        setting = f"{sign} {row.budget}" if row.budget else strength  # calibrated strengths differ between seeds
        prefix = f"{row.prompts}/" if has_sets else ""
        values |= {f"{metric}/{prefix}{setting}": value.value for metric, value in row.metrics.items()}
        cost = row.cost.model_dump(exclude_none=True) if row.cost else {}
        values |= {f"cost/{name}/{prefix}{setting}": float(value) for name, value in cost.items()}
    return values


def objective_value(result: Result, name: str) -> float:
    """Return one value of a result, as the objective of a sweeper.

    Args:
        name: ``METRIC/SETTING`` as in ``final_values``; the name of the dimension may be left out, as in
            ``positivity/+5``.

    Raises:
        InputError: If the result has no such value, or several.
    """
    values = final_values(result)
    dimensions = "|".join(re.escape(dimension) for row in result.rows for dimension in row.strength)
    matching = {
        key: v for key, v in values.items() if name in (key, re.sub(rf"(?<=[/,])({dimensions})(?=[+-])", "", key))
    }
    if len(matching) != 1:
        raise InputError(f"objective={name}: one of {', '.join(values)} expected")
    return next(iter(matching.values()))
