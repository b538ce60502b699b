"""Effect against the number of training examples: python -m experiments.data_efficiency.report RUNS [PICTURE.png]."""

import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from experiments.speed.report import table
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import find_runs, read_run
from lmsteer.evaluation.metric_names import Metric
from lmsteer.reporting.comparison import Comparison, ComparisonRow, Measurement, compare_runs
from lmsteer.reporting.plots import COLORS, MARKERS, STYLE, to_png
from lmsteer.reporting.published import published
from lmsteer.storage.atomic_files import atomic_write


def examples(found: Comparison) -> list[tuple[int, ComparisonRow]]:
    """Steered rows by their number of training rows, the fewest first.

    Raises:
        InputError: If a steer file did not say how many they were.
    """
    rows = [(trained_on(row), row) for row in found.rows if not row.is_plain]
    return sorted(rows, key=lambda pair: pair[0])


def trained_on(row: ComparisonRow) -> int:
    """How many texts the steer of a row was learned from.

    Raises:
        InputError: If its file did not say so.
    """
    count = row.settings.get("train_rows")
    if not isinstance(count, int):
        raise InputError(f"a run of {row.method} does not say on how many rows it was trained")
    return count


def cell(metric: Metric, measured: Measurement) -> str:
    """Value, interval over prompts, deviation over seeds."""
    value, low, high = measured.interval.value, measured.interval.low, measured.interval.high
    interval = "" if low is None or high is None else f" [{metric.format(low)}, {metric.format(high)}]"
    deviation = "" if measured.sd is None else f" ±{metric.format(measured.sd)}"
    return metric.format(value) + interval + deviation


def markdown(found: Comparison) -> str:
    """A row for the plain model and for each number of examples."""
    metrics = [m for m in found.metrics if m.is_attribute or m.base == "perplexity"]
    rows = [("plain", row) for row in found.rows if row.is_plain]
    rows += [(f"{count:,}", row) for count, row in examples(found)]
    cells = [[name, *(cell(m, row.metrics[m.name]) for m in metrics)] for name, row in rows]
    return table(["examples", *(metric.heading for metric in metrics)], cells)


def figure(found: Comparison) -> Figure:
    """Attributes of every scorer against the number of examples, with intervals; the plain model as a line."""
    metrics = [metric for metric in found.metrics if metric.is_attribute]
    with style.context(["default", STYLE]):
        drawn = Figure(figsize=(7.0, 4.4), layout="constrained")
        axes = drawn.subplots()
        for number, metric in enumerate(metrics):
            points = [(count, row.metrics[metric.name].interval) for count, row in examples(found)]
            color, counts = COLORS[number % len(COLORS)], [count for count, _ in points]
            values = [interval.value for _, interval in points]
            axes.plot(counts, values, color=color, marker=MARKERS[number % len(MARKERS)], label=metric.heading)
            for count, interval in points:
                if interval.low is not None and interval.high is not None:
                    axes.vlines(count, interval.low, interval.high, color=color, alpha=0.4, linewidth=2.5)
            for row in found.rows:
                if row.is_plain:
                    axes.axhline(row.metrics[metric.name].interval.value, color=color, linestyle=":", linewidth=1.2)
        count_axis(axes, [count for count, _ in examples(found)])
        axes.set_ylim(0, 1)
        axes.set_xlabel("training examples (dotted: the plain model)")
        axes.set_ylabel("score or share (0 to 1)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3, ncols=2)
    return drawn


def count_axis(axes: Axes, counts: Sequence[int]) -> None:
    """A logarithmic abscissa with nothing but these numbers on it."""
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())


def read(runs: Sequence[Path]) -> Comparison:
    """The finished runs as one study; what is unfinished is named on standard error.

    Raises:
        InputError: If there is no finished run, or the runs cannot stand in one table.
    """
    finished, unfinished = find_runs(runs)
    for left in unfinished:
        print(f"not finished, left out: {left}", file=sys.stderr)
    return compare_runs([read_run(run) for run in finished])


def main(folder: Path, picture: Path | None) -> None:
    """Print the table; draw the picture where a path is given."""
    found = read([folder])
    print(markdown(found))
    for entry in published().entries:
        if entry.table == "data-efficiency":
            values = ", ".join(
                f"{Metric(name).words} {own.value} ({own.scorer})" for name, own in entry.metrics.items()
            )
            print(f"\nPublished, not comparable: {entry.method}, {entry.model}: {values}")
    if picture is not None:
        with atomic_write(picture) as part:
            part.write_bytes(to_png(figure(found)))


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    if not 1 <= len(paths) <= 2:
        sys.exit("usage: python -m experiments.data_efficiency.report RUNS [PICTURE.png]")
    try:
        main(paths[0], paths[1] if len(paths) == 2 else None)
    except InputError as error:
        sys.exit(f"Error: {error}")
