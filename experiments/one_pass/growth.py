"""Control by the number of texts a steer was learned from: python -m experiments.one_pass.growth RUNS… PICTURE.png."""

import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from experiments.one_pass.solvers import Place, Point, at, attributes, budgets, draw, places, point, read, recipe, texts
from lmsteer.errors import InputError
from lmsteer.files import whole
from lmsteer.reporting.figures import STYLE, to_png
from lmsteer.reporting.metric import Metric
from lmsteer.reporting.study import Study


def curve(found: Study, place: Place, name: str, metric: Metric, budget: str) -> list[Point]:
    """The values of one recipe over the number of texts, from a place at a budget.

    Raises:
        InputError: If a run does not tell how many texts its steer was learned from.
    """
    points = []
    for label, row in at(found, place, budget).items():
        if (amount := texts(row)) is None:
            raise InputError(f"{label}: its run does not tell how many texts it was learned from")
        if recipe(row) == name:
            points.append(point(row, metric, amount))
    return points


def figure(found: Study) -> Figure:
    """A line of panels for each budget and place, a panel for each judge, a curve for each recipe."""
    lines = [(budget, place) for budget in budgets(found) for place in places(found)]
    columns, names = attributes(found), list(dict.fromkeys(recipe(row) for row in found.rows if row.budget))
    with style.context(["default", STYLE]):
        drawn = Figure(figsize=(4.2 * len(columns), 2.6 * len(lines) + 0.8), layout="constrained")
        grid = drawn.subplots(len(lines), len(columns), squeeze=False)
        for line, (budget, place) in zip(grid, lines, strict=True):
            for axes, metric in zip(line, columns, strict=True):
                curves = [curve(found, place, name, metric, budget) for name in names]
                draw(axes, curves, names)
                ticks = sorted({at[0] for one in curves for at in one})
                axes.set_xscale("log")
                axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
                axes.xaxis.set_minor_locator(NullLocator())
                axes.set_xlabel("texts")
                axes.set_title(f"{place}, {budget}", fontsize=9.5, loc="left")
                axes.set_ylabel(f"{metric.words}{f' ({metric.scorer})' if metric.scorer else ''}")
        drawn.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return drawn


def main(runs: Sequence[Path], picture: Path) -> None:
    """Draw the picture."""
    with whole(picture) as part:
        part.write_bytes(to_png(figure(read(runs))))


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    if len(paths) < 2 or paths[-1].suffix != ".png":
        sys.exit("usage: python -m experiments.one_pass.growth RUNS… PICTURE.png")
    try:
        main(paths[:-1], paths[-1])
    except InputError as error:
        sys.exit(f"Error: {error}")
