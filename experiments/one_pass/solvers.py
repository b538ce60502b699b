"""The solvers side by side at equal cost: python -m experiments.one_pass.solvers RUNS… [PICTURE.png]."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.data_efficiency.report import cell, read, trained_on
from experiments.speed.report import table
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import statistic_of
from lmsteer.evaluation.metric_names import Metric
from lmsteer.metrics.paired_test import PairedChange, paired_change
from lmsteer.reporting.comparison import Comparison, ComparisonRow
from lmsteer.reporting.plots import COLORS, MARKERS, STYLE, to_png
from lmsteer.storage.atomic_files import atomic_write

PERPLEXITY = Metric("perplexity")


@dataclass(frozen=True)
class Place:
    """Where rows compare: a prompt set, steered in one direction."""

    prompts: str
    direction: int

    def __str__(self) -> str:
        return f"{self.prompts}, {'+' if self.direction > 0 else '-'}"


def solver(found: Comparison, row: ComparisonRow) -> str:
    """Who made the steer of a row and, where the study's numbers differ, from how many texts: a name for the table."""
    several = len({trained_on(other) for other in found.rows if other.strength}) > 1
    return f"{recipe(row)}, {trained_on(row)} texts" if several else recipe(row)


def recipe(row: ComparisonRow) -> str:
    """How the steer of a row was made, whatever the number of texts."""
    said = row.settings.get
    if said("solver") != "one_pass":
        return f"paper, {said('steps')} steps"
    rank = "full rank" if said("rank") == "full" else "rank by the null"
    form = {"matrix": rank, "add": "constant alone", "both": f"{rank} and constant"}[str(said("form", "matrix"))]
    of_contexts = "" if said("form") == "add" or said("context_damping") is None else f"/{said('context_damping'):g}"
    return f"one pass, {form}, damping {said('damping'):g}{of_contexts}"


def places(found: Comparison) -> list[Place]:
    """In the order of the rows."""
    steered = [row for row in found.rows if row.strength]
    return list(dict.fromkeys(Place(row.prompts, _direction(row)) for row in steered))


def at(found: Comparison, place: Place, budget: str) -> dict[str, ComparisonRow]:
    """Rows of a place and budget by their solver: fewest texts first, of as many the paper's.

    Raises:
        InputError: If two rows have one solver, or a run does not say how many texts its steer was learned from.
    """
    rows = [row for row in found.rows if row.strength and (row.prompts, row.budget) == (place.prompts, budget)]
    own: dict[str, ComparisonRow] = {}
    for row in rows:
        if _direction(row) == place.direction and own.setdefault(solver(found, row), row) is not row:
            raise InputError(f"{place}, {budget}: two rows are of {solver(found, row)}; one expected")
    return dict(sorted(own.items(), key=lambda pair: _rank(*pair)))


def _rank(name: str, row: ComparisonRow) -> tuple[int, bool, int, str]:
    return trained_on(row), not name.startswith("paper"), len(name), name


def _direction(row: ComparisonRow) -> int:
    return 1 if next(iter(row.strength.values())) > 0 else -1


def budgets(found: Comparison) -> list[str]:
    """Divergences, then perplexities, each rising; rows at a given strength are not compared."""
    return sorted({row.budget for row in found.rows if row.budget}, key=lambda name: (name[0], _amount(name)))


def _amount(budget: str) -> float:
    return float(budget.split()[-1].lstrip("×"))


def attributes(found: Comparison) -> list[Metric]:
    """The first attribute by every scorer."""
    bases = [metric for metric in found.metrics if metric.is_attribute]
    return [metric for metric in bases if metric.base == bases[0].base]


def markdown(found: Comparison, place: Place) -> str:
    """A row for each budget and solver: the attribute by every judge, with its change from the first row of as many
    texts, and costs."""
    judges, cells = attributes(found), []
    plain = next(row for row in found.rows if row.is_plain and row.prompts == place.prompts)
    shown = [*judges, PERPLEXITY, Metric("dist_1")]
    cells.append(["", "plain", "", *(cell(metric, plain.metrics[metric.name]) for metric in shown)])
    for budget in budgets(found):
        rows = at(found, place, budget)
        first: dict[int, ComparisonRow] = {}
        for name, row in rows.items():
            values = [cell(metric, row.metrics[metric.name]) for metric in shown]
            paper = first.setdefault(trained_on(row), row)
            if row is not paper:
                values[: len(judges)] = [
                    f"{value} {change(paper, row, metric)}" for value, metric in zip(values, judges, strict=False)
                ]
            cells.append([budget, name, str(len(row.seeds)), *values])
    return table(["at", "solver", "seeds", *(metric.heading for metric in shown)], cells)


def change(before: ComparisonRow, after: ComparisonRow, metric: Metric) -> str:
    """From one row to another on the same prompts, with its interval and p."""
    pair = before.metrics[metric.name].sample, after.metrics[metric.name].sample
    found: PairedChange = paired_change(*pair, statistic_of(metric))
    low, high = found.low or 0.0, found.high or 0.0
    return f"({found.change:+.3f} [{low:+.3f}, {high:+.3f}] p {found.p:.3f})"


def figure(found: Comparison) -> Figure:
    """For each place and judge the attribute against divergence and against perplexity; a line for each solver."""
    lines, columns = places(found), [(metric, by_kl) for metric in attributes(found) for by_kl in (True, False)]
    every = [(place, budget) for place in lines for budget in budgets(found)]
    names = list(dict.fromkeys(name for place, budget in every for name in at(found, place, budget)))
    with style.context(["default", STYLE]):
        drawn = Figure(figsize=(3.4 * len(columns), 2.8 * len(lines) + 0.8), layout="constrained")
        grid = drawn.subplots(len(lines), len(columns), squeeze=False)
        for line, place in zip(grid, lines, strict=True):
            for axes, (metric, by_kl) in zip(line, columns, strict=True):
                draw(axes, [list(_points(found, place, name, metric, by_kl)) for name in names], names)
                axes.set_xlabel("nats per token from the plain model" if by_kl else "perplexity")
                axes.set_title(f"{place}{f' ({metric.scorer})' if metric.scorer else ''}", fontsize=9.5, loc="left")
                axes.set_ylabel(metric.words if axes is line[0] else "")
        drawn.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawn


Point = tuple[float, float, float, float]
"""Abscissa, value and interval."""


def draw(axes: Axes, curves: Sequence[list[Point]], names: Sequence[str]) -> None:
    """A line for each curve with the intervals of its points, from 0."""
    for number, (points, name) in enumerate(zip(curves, names, strict=True)):
        if points:
            x, y, low, high = zip(*points, strict=True)
            color = COLORS[number % len(COLORS)]
            axes.plot(x, y, color=color, marker=MARKERS[number % len(MARKERS)], markersize=5, label=name)
            axes.vlines(x, low, high, color=color, alpha=0.35, linewidth=2)
    axes.set_ylim(0, 1.05 * max((point[3] for points in curves for point in points), default=1.0))


def _points(found: Comparison, place: Place, name: str, metric: Metric, by_kl: bool) -> Iterator[Point]:
    for budget in budgets(found):
        row = at(found, place, budget).get(name)
        if row is None or (by_kl and not budget.startswith("kl")):
            continue
        yield point(row, metric, _amount(budget) if by_kl else row.metrics[PERPLEXITY.name].interval.value)


def point(row: ComparisonRow, metric: Metric, x: float) -> Point:
    """A row's value of a metric over an abscissa; where it has no interval, the value itself."""
    interval = row.metrics[metric.name].interval
    low, high = (interval.value if end is None else end for end in (interval.low, interval.high))
    return x, interval.value, low, high


def main(runs: Sequence[Path], picture: Path | None) -> None:
    """Print a table for each prompt set and direction; draw the picture where a path is given."""
    found = read(runs)
    for place in places(found):
        print(f"`{place}`:\n\n{markdown(found, place)}\n")
    if picture is not None:
        with atomic_write(picture) as part:
            part.write_bytes(to_png(figure(found)))


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    if not paths or paths[0].suffix == ".png":
        sys.exit("usage: python -m experiments.one_pass.solvers RUNS… [PICTURE.png]")
    last = paths.pop() if paths[-1].suffix == ".png" else None
    try:
        main(paths, last)
    except InputError as error:
        sys.exit(f"Error: {error}")
