"""Which settings control best on prompts for choosing: python -m experiments.one_pass.chosen RUNS…"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.data_efficiency.report import read
from experiments.one_pass.solvers import at, attributes, budgets, places, solver
from experiments.speed.report import table
from lmsteer.errors import InputError
from lmsteer.evaluation.metric_names import Metric
from lmsteer.reporting.comparison import Comparison


def aim(metric: Metric, value: float, direction: int) -> float:
    """A share as it is aimed at: 1 is best, whichever way the steer goes."""
    down = (direction < 0) is not metric.is_toxicity
    return 1 - value if down else value


def control(found: Comparison) -> dict[str, list[float]]:
    """By solver how near it comes to its aim, at each budget, place and judge, in one order for all.

    Raises:
        InputError: If a solver was not measured where another one was.
    """
    values: dict[str, list[float]] = {solver(found, row): [] for row in found.rows if row.strength and row.budget}
    for budget in budgets(found):
        for place in places(found):
            rows = at(found, place, budget)
            if missing := values.keys() - rows.keys():
                raise InputError(f"{place}, {budget}: {sorted(missing)[0]} was not measured there")
            for name, row in rows.items():
                own = [(metric, row.metrics[metric.name].interval.value) for metric in attributes(found)]
                values[name] += [aim(metric, value, place.direction) for metric, value in own]
    return values


def markdown(found: Comparison) -> str:
    """A row for each solver, the best first: the mean, then each budget, place and judge."""
    names = [
        f"{budget}, {place}{f' ({metric.scorer})' if metric.scorer else ''}"
        for budget in budgets(found)
        for place in places(found)
        for metric in attributes(found)
    ]
    order = sorted(control(found).items(), key=lambda pair: -np.mean(pair[1]))
    rows = [[name, *(f"{value:.3f}" for value in (np.mean(values), *values))] for name, values in order]
    return table(["solver", "mean", *names], rows)


def main(runs: Sequence[Path]) -> None:
    """Print the table."""
    print(markdown(read(runs)))


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python -m experiments.one_pass.chosen RUNS…")
    try:
        main([Path(argument) for argument in sys.argv[1:]])
    except InputError as error:
        sys.exit(f"Error: {error}")
