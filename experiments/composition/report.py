"""Tables and picture of the composition study."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.study import Results
from lmsteer.evaluation.comparable import FinishedRun
from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import Result, ResultRow
from lmsteer.metrics.paired_test import PairedChange
from lmsteer.reporting.comparison import Comparison, Measurement, compare_runs
from lmsteer.reporting.comparison_formats import markdown
from lmsteer.reporting.comparison_tables import blocks
from lmsteer.reporting.interference_table import interference_table
from lmsteer.reporting.plots import STYLE, short
from lmsteer.reporting.text import escape_markdown, interval, markdown_table, metric_number, number
from lmsteer.steering.interference import Interference

BOTH, FACTORS_ADDED = "both attributes", "factors added"
DESIRED_SIGN = {"positivity": 1, "expected_maximum_toxicity": -1}
"""Sign of the desired change of each attribute at positive strengths."""
LEGEND = (
    "Plain → steered, then the change on the same prompts with its 95 % bootstrap interval over prompts. **Bold**: the "
    "change has the desired sign, its interval excludes 0, and the intervals of both values (below) do not overlap. In "
    "parentheses: the interval of the change holds 0, or the change has the other sign."
)
LEVELS = 12


def composition_tables(results: Results, run: FinishedRun) -> str:
    """Write interference, the rows of both attributes at once, then every cell with its intervals and changes."""
    interference, comparison = Interference(**results["interference"]), compare_runs([run])
    cross_terms = (
        f"Adding the factors (of {results['columns']} columns) instead of the matrices brings in products "
        f"whose size is {results['cross_terms']:.2f} of that of the sum."
    )
    sections = ["## Interference", interference_table(interference), cross_terms]
    sections += ["## Both at once", both_table(comparison, results["attributes"]), LEGEND]
    return "\n\n".join([*sections, "## All cells", markdown(blocks(comparison, None))])


def both_table(comparison: Comparison, attributes: Sequence[str]) -> str:
    """Write the rows in which both attributes have one positive strength, and those of added factors."""
    metrics = [metric for metric in comparison.metrics if metric.base in DESIRED_SIGN]
    rows = []
    for index, reference in comparison.references.items():
        row, plain = comparison.rows[index], comparison.rows[reference]
        first, second = (row.strength.get(name) for name in attributes)
        if FACTORS_ADDED not in row.strength and (first != second or first is None or first <= 0):
            continue
        changes = {name: change for (row_index, name), change in comparison.changes.items() if row_index == index}
        label = f"{row.strength_label} ({row.budget})" if row.budget else row.strength_label
        cells = [_change_cell(m, plain.metrics[m.name], row.metrics[m.name], changes[m.name]) for m in metrics]
        ratio = f"×{format_change(changes['perplexity'])}"
        rows.append([escape_markdown(row.prompts), escape_markdown(label), *cells, ratio])
    headings = ["prompts", "strength", *(metric.heading for metric in metrics), "perplexity"]
    return markdown_table(headings, rows, escaped=False)


def _change_cell(metric: Metric, plain: Measurement, steered: Measurement, change: PairedChange) -> str:
    before, after = (metric_number(metric, measurement.interval.value) for measurement in (plain, steered))
    text = f"{before} → {after}, {format_change(change, signed=True)}"
    if not is_desired(metric, change):
        return f"({text})"
    return f"**{text}**" if are_disjoint(plain, steered) else text


def format_change(change: PairedChange, *, signed: bool = False) -> str:
    """Write a change with its interval."""
    return interval({"value": change.change, "low": change.low, "high": change.high}, signed=signed)


def is_desired(metric: Metric, change: PairedChange) -> bool:
    """Return whether a change has the desired sign and its interval excludes 0."""
    if change.low is None or change.high is None:
        return False
    return change.low > 0 if DESIRED_SIGN[metric.base] > 0 else change.high < 0


def are_disjoint(first: Measurement, second: Measurement) -> bool:
    """Return whether two intervals share no value; False where one is missing."""
    (a, b), (c, d) = ((measurement.interval.low, measurement.interval.high) for measurement in (first, second))
    return None not in (a, b, c, d) and bool(b < c or d < a)  # type: ignore[operator]


@dataclass(frozen=True)
class GridPanel:
    """A column of panels of the picture: a metric, its title, its color map, and a transformation of its values."""

    metric: str
    title: str
    colors: str
    transform: Callable[[float], float] = float


PANELS = (
    GridPanel("positivity", "share positive", "Blues"),
    GridPanel("expected_maximum_toxicity", "expected max toxicity", "Oranges"),
    GridPanel("perplexity", "log perplexity", "Greys", math.log),
)


def grid_figure(result: Result, attributes: Sequence[str]) -> Figure:
    """Draw attributes and log perplexity over both strengths: a row of panels for each prompt set."""
    sets = {
        prompts: [row for row in result.rows if row.prompts == prompts]
        for prompts in dict.fromkeys(row.prompts for row in result.rows)
    }
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(10.5, 0.4 + 2.9 * len(sets)), layout="constrained")
        grid = figure.subplots(len(sets), len(PANELS), squeeze=False)
        for column, panel in enumerate(PANELS):
            surfaces = {prompts: surface(rows, attributes, panel) for prompts, rows in sets.items()}
            low, high = (f(f(values.flat) for _, values in surfaces.values()) for f in (min, max))
            levels = np.linspace(low, max(high, low + 1e-6), LEVELS)
            for axes, (prompts, (strengths, values)) in zip(grid[:, column], surfaces.items(), strict=True):
                contours = axes.contourf(strengths, strengths, values.T, levels=levels, cmap=panel.colors)
                _write_values(axes, strengths, values, middle=(levels[0] + levels[-1]) / 2)
                title = f"{short(prompts, 24)}\n\n" if column == 0 else ""
                axes.set_xlabel(f"strength of {short(attributes[0], 20)}")
                axes.set_ylabel(f"{title}strength of {short(attributes[1], 20)}")
            grid[0, column].set_title(panel.title, fontsize=11)
            figure.colorbar(contours, ax=list(grid[:, column]), aspect=40, format="%.2f")
    return figure


def surface(
    rows: Sequence[ResultRow], attributes: Sequence[str], panel: GridPanel
) -> tuple[list[float], NDArray[np.float64]]:
    """Return the strengths of the grid, rising, and the values at each pair: (first attribute, second attribute)."""
    cells = {
        (row.strength.get(attributes[0], 0.0), row.strength.get(attributes[1], 0.0)): row.metrics[panel.metric].value
        for row in rows
        if row.is_plain or (set(row.strength) == set(attributes) and not row.budget)
    }
    strengths = sorted({value for cell in cells for value in cell})
    return strengths, np.array([[panel.transform(cells[x, y]) for y in strengths] for x in strengths])


def _write_values(axes: Axes, strengths: Sequence[float], values: NDArray[np.float64], *, middle: float) -> None:
    """Write the values at their strengths, moved inward at the edges."""
    inner = [("center", "center", 0)] * (len(strengths) - 2)
    alignments = [("left", "bottom", 4), *inner, ("right", "top", -4)]
    for (i, x), (j, y) in itertools.product(enumerate(strengths), repeat=2):
        axes.annotate(
            number(values[i, j]),
            (x, y),
            ha=alignments[i][0],
            va=alignments[j][1],
            xytext=(alignments[i][2], alignments[j][2]),
            textcoords="offset points",
            color="white" if values[i, j] > middle else "black",
            fontsize=9,
        )
    axes.set_xticks(strengths, [f"{x:+g}" if x else "0" for x in strengths])
    axes.set_yticks(strengths, [f"{y:+g}" if y else "0" for y in strengths])
    axes.grid(visible=False)
