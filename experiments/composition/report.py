"""Tables and picture of the composition study."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from experiments.study import Results
from lmsteer.evaluation.comparable import FinishedRun
from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import Result
from lmsteer.metrics.paired_test import PairedChange
from lmsteer.reporting.comparison import Comparison, Measurement, compare_runs
from lmsteer.reporting.comparison_formats import markdown
from lmsteer.reporting.comparison_tables import blocks
from lmsteer.reporting.interference_table import interference_table
from lmsteer.reporting.plots import Panel, metric_vs
from lmsteer.reporting.text import escape_markdown, interval, markdown_table, metric_number
from lmsteer.steering.interference import Interference

BOTH, FACTORS_ADDED = "both attributes", "factors added"
DESIRED_SIGN = {"positivity": 1, "expected_maximum_toxicity": -1}
"""Sign of the desired change of each attribute at positive strengths."""
LEGEND = (
    "Plain → steered, then the change on the same prompts with its 95 % bootstrap interval over prompts. **Bold**: the "
    "change has the desired sign, its interval excludes 0, and the intervals of both values (below) do not overlap. In "
    "parentheses: the interval of the change holds 0, or the change has the other sign."
)
PANELS = ("positivity", "expected_maximum_toxicity", "perplexity")
"""Metrics of the picture."""


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


def grid_figure(result: Result, attributes: Sequence[str]) -> Figure:
    """Draw attributes and perplexity over the strength of the first attribute, a line for each strength of the second.

    Each prompt set has a row of panels.
    """
    cells = [
        (row.strength.get(attributes[0], 0.0), row.strength.get(attributes[1], 0.0), row)
        for row in result.rows
        if row.is_plain or (set(row.strength) == set(attributes) and not row.budget)
    ]
    points = [
        {
            "panel": f"{row.prompts}, {metric}",
            "group": f"{attributes[1]} {y:+g}" if y else f"{attributes[1]} 0",
            "x": x,
            **row.metrics[metric].model_dump(include={"value", "low", "high"}),
        }
        for x, y, row in sorted(cells, key=lambda cell: cell[:2])
        for metric in PANELS
    ]
    panels = {
        f"{prompts}, {metric.name}": Panel(
            title=prompts,
            x_label=f"strength of {attributes[0]}",
            y_label=metric.words,
            x_ticks={x: f"{x:+g}" if x else "0" for x, _, _ in cells},
            y_limits=(0, 1.03) if metric.is_fraction else None,
            log_y=not metric.is_fraction,
        )
        for prompts in dict.fromkeys(row.prompts for row in result.rows)
        for metric in map(Metric, PANELS)
    }
    return metric_vs(pd.DataFrame(points), panels, columns=len(PANELS), size=(3.6, 3.0))
