"""Control by the number of texts a steer was learned from: python -m experiments.one_pass.growth RUNS… PICTURE.png."""

import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure

from experiments.data_efficiency.report import count_axis, read, trained_on
from experiments.one_pass.solvers import Place, Point, at, attributes, budgets, draw, places, point, recipe
from lmsteer.errors import InputError
from lmsteer.evaluation.metric_names import Metric
from lmsteer.reporting.comparison import Comparison
from lmsteer.reporting.plots import STYLE, to_png
from lmsteer.storage.atomic_files import atomic_write


def curve(found: Comparison, place: Place, name: str, metric: Metric, budget: str) -> list[Point]:
    """The values of one recipe over the number of texts, from a place at a budget."""
    rows = [row for row in at(found, place, budget).values() if recipe(row) == name]
    return [point(row, metric, trained_on(row)) for row in rows]


def figure(found: Comparison) -> Figure:
    """A line of panels for each budget and place, a panel for each judge, a curve for each recipe."""
    lines = [(budget, place) for budget in budgets(found) for place in places(found)]
    columns, names = attributes(found), list(dict.fromkeys(recipe(row) for row in found.rows if row.budget))
    counts = sorted({trained_on(row) for row in found.rows if row.budget})
    with style.context(["default", STYLE]):
        drawn = Figure(figsize=(4.2 * len(columns), 2.6 * len(lines) + 0.8), layout="constrained")
        grid = drawn.subplots(len(lines), len(columns), squeeze=False)
        for line, (budget, place) in zip(grid, lines, strict=True):
            for axes, metric in zip(line, columns, strict=True):
                curves = [curve(found, place, name, metric, budget) for name in names]
                draw(axes, curves, names)
                count_axis(axes, counts)
                axes.set_xlabel("texts")
                axes.set_title(f"{place}, {budget}", fontsize=9.5, loc="left")
                axes.set_ylabel(f"{metric.words}{f' ({metric.scorer})' if metric.scorer else ''}")
        drawn.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return drawn


def main(runs: Sequence[Path], picture: Path) -> None:
    """Draw the picture."""
    with atomic_write(picture) as part:
        part.write_bytes(to_png(figure(read(runs))))


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    if len(paths) < 2 or paths[-1].suffix != ".png":
        sys.exit("usage: python -m experiments.one_pass.growth RUNS… PICTURE.png")
    try:
        main(paths[:-1], paths[-1])
    except InputError as error:
        sys.exit(f"Error: {error}")
