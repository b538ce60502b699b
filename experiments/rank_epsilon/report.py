"""Effect against rank, for each epsilon: python -m experiments.rank_epsilon.report RUNS [PICTURE.png]."""

import sys
from dataclasses import dataclass
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from experiments.data_efficiency.report import cell, read
from experiments.speed.report import table
from lmsteer.errors import InputError
from lmsteer.evaluation.metric_names import Metric
from lmsteer.metrics.intervals import Interval
from lmsteer.reporting.comparison import Comparison, ComparisonRow
from lmsteer.reporting.plots import COLORS, DODGE, MARKERS, STYLE, to_png

FULL = "full"


@dataclass(frozen=True)
class Point:
    """A steered row with its rank, its epsilon, and at what it is compared: a budget, or a strength."""

    rank: int | str
    epsilon: float
    at: str
    row: ComparisonRow

    @property
    def order(self) -> tuple[bool, str, float, bool, int]:
        """Calibrated rows first, then by epsilon and rank; a full matrix after every rank."""
        rank = self.rank if isinstance(self.rank, int) else 0
        return (not self.row.budget, self.at, self.epsilon, self.rank == FULL, rank)


def points(found: Comparison) -> list[Point]:
    """Steered rows in the order of the table.

    Raises:
        InputError: If a steer file did not say its rank and epsilon.
    """
    kept = []
    for row in found.rows:
        if row.is_plain:
            continue
        rank, epsilon = row.settings.get("rank"), row.settings.get("epsilon")
        if not isinstance(rank, int | str) or not isinstance(epsilon, float):
            raise InputError(f"a run of {row.method} does not say its rank and epsilon")
        kept.append(Point(rank, epsilon, row.budget or row.strength_label, row))
    return sorted(kept, key=lambda point: point.order)


def shown(found: Comparison) -> list[Metric]:
    """Attributes and perplexity."""
    return [metric for metric in found.metrics if metric.is_attribute or metric.base == "perplexity"]


def markdown(found: Comparison) -> str:
    """A row for the plain model and for each budget or strength, epsilon and rank."""
    metrics = shown(found)
    cells = [["plain", "", "", "", *_cells(row, metrics)] for row in found.rows if row.is_plain]
    for point in points(found):
        strength = point.row.strength_label if point.row.budget else ""
        cells.append([point.at, f"{point.epsilon:g}", str(point.rank), strength, *_cells(point.row, metrics)])
    return table(["at", "ε", "rank", "strength", *(metric.heading for metric in metrics)], cells)


def _cells(row: ComparisonRow, metrics: list[Metric]) -> list[str]:
    return [cell(metric, row.metrics[metric.name]) for metric in metrics]


def figure(found: Comparison) -> Figure:
    """A line for each epsilon over the ranks: attribute and perplexity below each other, a column for each budget."""
    known = points(found)
    columns = list(dict.fromkeys(point.at for point in known))
    ranks = sorted({point.rank for point in known}, key=lambda rank: (rank == FULL, rank if rank != FULL else 0))
    metrics = [next(metric for metric in shown(found) if metric.is_attribute), Metric("perplexity")]
    with style.context(["default", STYLE]):
        drawn = Figure(figsize=(1 + 4.2 * len(columns), 6.4), layout="constrained")
        places = drawn.subplots(2, len(columns), squeeze=False)
        for line, metric in zip(places, metrics, strict=True):
            for axes, at in zip(line, columns, strict=True):
                own = [point for point in known if point.at == at]
                _panel(axes, own, metric, ranks, [row for row in found.rows if row.is_plain])
                axes.set_ylabel(metric.words if axes is line[0] else "")
        for axes, at in zip(places[0], columns, strict=True):
            axes.set_title(f"at {at}")
        for axes in places[1]:
            axes.set_xlabel("rank (dotted: the plain model)")
        places[0][0].legend(loc="best")
    return drawn


def _panel(axes: Axes, known: list[Point], metric: Metric, ranks: list[int | str], plain: list[ComparisonRow]) -> None:
    epsilons = sorted({point.epsilon for point in known})
    values: list[Interval] = []
    for number, epsilon in enumerate(epsilons):
        own = [point for point in known if point.epsilon == epsilon]
        x = [ranks.index(point.rank) for point in own]
        intervals = [point.row.metrics[metric.name].interval for point in own]
        color, shift = COLORS[number], DODGE * (number - (len(epsilons) - 1) / 2) / 72
        place = axes.transData + ScaledTranslation(shift, 0, axes.figure.dpi_scale_trans)
        marks = [interval.value for interval in intervals]
        axes.plot(x, marks, color=color, marker=MARKERS[number], label=f"ε = {epsilon:g}", transform=place)
        for at, interval in zip(x, intervals, strict=True):
            if interval.low is not None and interval.high is not None:
                axes.vlines(at, interval.low, interval.high, color=color, alpha=0.4, linewidth=2.5, transform=place)
        values += intervals
    for row in plain:
        values.append(row.metrics[metric.name].interval)
        axes.axhline(values[-1].value, color="#444444", linestyle=":", linewidth=1.2)
    axes.set_xticks(range(len(ranks)), [str(rank) for rank in ranks])
    axes.set_xlim(-0.4, len(ranks) - 0.6)  # shifted marks do not count for matplotlib's own limits
    axes.set_ylim(0, 1.03 if metric.is_fraction else 1.05 * max(_top(interval) for interval in values))


def _top(interval: Interval) -> float:
    return interval.value if interval.high is None else interval.high


def main(folder: Path, picture: Path | None) -> None:
    """Print the table; draw the picture where a path is given."""
    found = read([folder])
    print(markdown(found))
    if picture is not None:
        picture.write_bytes(to_png(figure(found)))


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    if not 1 <= len(paths) <= 2:
        sys.exit("usage: python -m experiments.rank_epsilon.report RUNS [PICTURE.png]")
    try:
        main(paths[0], paths[1] if len(paths) == 2 else None)
    except InputError as error:
        sys.exit(f"Error: {error}")
