"""The cost of control: the attribute against perplexity, a curve for each kind of row."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lmsteer.evaluation.metric_names import Metric
from lmsteer.metrics.intervals import Interval
from lmsteer.reporting.comparison import Comparison, ComparisonRow
from lmsteer.reporting.comparison_rows import in_table_order, kind_label
from lmsteer.reporting.effects import COST, total_strength
from lmsteer.reporting.plots import COLORS, STYLE, look, needs_log, set_log, short, wrap_label

PLAIN_LOOK: dict[str, Any] = {
    "color": "#000000",
    "marker": "*",
    "markersize": 13,
    "markeredgecolor": "white",
    "linestyle": "none",
}
RING_LOOK: dict[str, Any] = {
    "markersize": 11,
    "linestyle": "none",
    "color": "black",
    "markerfacecolor": "none",
    "markeredgewidth": 0.9,
}
RINGS = {"kl": ("o", "equal KL"), "perplexity": ("s", "equal perplexity")}
"""Marker and label of the ring around a calibrated row, by the kind of its budget."""
MAX_COLUMNS = 3
MAX_NAMED_POINTS = 14
"""Points of a panel above which their strengths are not written, as they would overlap."""


@dataclass(frozen=True)
class Curve:
    """Rows of one kind by rising strength, and the plain model among them, if it was measured."""

    label: str
    rows: list[ComparisonRow]
    plain: ComparisonRow | None

    @property
    def is_plain(self) -> bool:
        """Whether these are rows of the plain model."""
        return self.rows[0].is_plain

    @property
    def path(self) -> list[ComparisonRow]:
        """The rows that the line joins; empty for a method without strengths."""
        steered = [row for row in self.rows if row.strength]
        return sorted([*steered, *([self.plain] if self.plain else [])], key=_strength) if steered else []


def pareto(comparison: Comparison) -> Figure | None:
    """Draw the first attribute by its first scorer against perplexity, a panel for each prompt set.

    None where no row has both.
    """
    metric = next((metric for metric in comparison.metrics if metric.is_attribute), None)
    prompt_sets = dict.fromkeys(row.prompts for row in comparison.rows)
    panels = {name: curves for name in prompt_sets if metric and (curves := pareto_curves(comparison, name, metric))}
    if metric is None or not panels:
        return None
    kinds = list(dict.fromkeys(curve.label for curves in panels.values() for curve in curves if not curve.is_plain))
    looks = {kind: look(index) | _color(index) for index, kind in enumerate(kinds)}
    columns = min(len(panels), MAX_COLUMNS)
    lines = math.ceil(len(panels) / columns)
    entries = _legend_entries(panels, looks)
    width = max(6.0, 4.0 * columns)
    longest = max(len(str(entry.get_label())) for entry in entries)
    legend_columns = max(columns, min(3, int(width / (0.55 + 0.085 * longest))))  # inches of marker and letters
    with style.context(["default", STYLE]):
        size = (width, 3.4 * lines + 0.21 * math.ceil(len(entries) / legend_columns) + 0.2)
        figure = Figure(figsize=size, layout="constrained")
        grid = list(figure.subplots(lines, columns, squeeze=False).flat)
        for axes, (prompts, curves) in zip(grid, panels.items(), strict=False):
            for curve in curves:
                _draw(axes, curve, metric, looks.get(curve.label, PLAIN_LOOK))
            _name_points(axes, curves, metric)
            _set_axes(axes, metric, curves)
            axes.set_title(short(prompts, 40), fontsize=10.5, loc="left")
        for axes in grid[len(panels) :]:
            axes.remove()
        figure.legend(handles=entries, loc="outside lower center", ncols=legend_columns)
    return figure


def pareto_curves(comparison: Comparison, prompts: str, metric: Metric) -> list[Curve]:
    """Collect the rows of a prompt set that have both values, in the order of the table: a curve for each kind."""
    by_kind: dict[str, list[ComparisonRow]] = {}
    rows = [row for _, row in in_table_order(comparison, prompts) if {metric.name, COST} <= row.metrics.keys()]
    for row in rows:
        by_kind.setdefault(kind_label(comparison, row), []).append(row)
    plain = {row.model: row for row in rows if row.is_plain}
    return [Curve(label, sorted(rows, key=_strength), plain.get(rows[0].model)) for label, rows in by_kind.items()]


def _strength(row: ComparisonRow) -> float:
    return total_strength(row.strength)


def _color(index: int) -> dict[str, str]:
    """Choose a color other than the last one, which is black like the plain model."""
    return {"color": COLORS[index % (len(COLORS) - 1)]}


def _draw(axes: Axes, curve: Curve, metric: Metric, curve_look: dict[str, Any]) -> None:
    x, y = ([row.metrics[name].interval for row in curve.rows] for name in (COST, metric.name))
    values = [interval.value for interval in x], [interval.value for interval in y]
    bars = {"ecolor": curve_look["color"], "elinewidth": 1.6, "alpha": 0.4}
    axes.errorbar(*values, xerr=_bar_lengths(x), yerr=_bar_lengths(y), fmt="none", **bars)
    if curve.path:
        path = [[row.metrics[name].interval.value for row in curve.path] for name in (COST, metric.name)]
        axes.plot(*path, color=curve_look["color"], linestyle=curve_look["linestyle"], linewidth=1.3, alpha=0.8)
    axes.plot(*values, **(curve_look | {"linestyle": "none"}), zorder=4)
    for row, *position in zip(curve.rows, *values, strict=True):
        if ring := RINGS.get(row.budget.partition(" ")[0]):
            axes.plot(*position, marker=ring[0], **RING_LOOK, zorder=5)


def _bar_lengths(intervals: Sequence[Interval]) -> list[list[float]]:
    """Measure error bars below and above; 0 where there is no interval."""
    low = [0.0 if interval.low is None else max(0.0, interval.value - interval.low) for interval in intervals]
    high = [0.0 if interval.high is None else max(0.0, interval.high - interval.value) for interval in intervals]
    return [low, high]


def _legend_entries(panels: Mapping[str, Sequence[Curve]], looks: Mapping[str, dict[str, Any]]) -> list[Line2D]:
    """Make the entries of the legend: the plain model, kinds of rows, rings."""
    curves = [curve for in_panel in panels.values() for curve in in_panel]
    budgets = {row.budget.partition(" ")[0] for curve in curves for row in curve.rows}
    entries = [(PLAIN_LOOK, "plain model")] if any(curve.is_plain for curve in curves) else []
    entries += [(kind_look, short(kind, 60)) for kind, kind_look in looks.items()]
    entries += [({"marker": m, **RING_LOOK}, label) for kind, (m, label) in RINGS.items() if kind in budgets]
    return [Line2D([], [], **entry_look, label=label) for entry_look, label in entries]


def _name_points(axes: Axes, curves: Sequence[Curve], metric: Metric) -> None:
    """Write strengths next to the points, where there is room."""
    rows = [row for curve in curves for row in curve.rows]
    if len(rows) > MAX_NAMED_POINTS:
        return
    offset: dict[str, Any] = {"xytext": (6, 5), "textcoords": "offset points", "fontsize": 8, "color": "#444444"}
    for row in rows:
        if row.strength:
            position = row.metrics[COST].interval.value, row.metrics[metric.name].interval.value
            axes.annotate(f"{_strength(row):+.3g}", position, **offset)


def _set_axes(axes: Axes, metric: Metric, curves: Sequence[Curve]) -> None:
    rows = [row for curve in curves for row in curve.rows]
    scorer, perplexity_model = (rows[0].metrics[name].scorer for name in (metric.name, COST))
    axes.set_ylabel(wrap_label(short(f"{metric.words} by {scorer}" if scorer else metric.words, 50)))
    axes.set_xlabel(f"perplexity under {short(perplexity_model, 30)}" if perplexity_model else COST)
    x, y = ([row.metrics[name].interval for row in rows] for name in (COST, metric.name))
    axes.set_ylim(0, min(1.0, 1.15 * max(interval.high or interval.value for interval in y)))
    if needs_log([interval.value for interval in x]):
        limits = [limit for i in x for limit in (i.value, i.low, i.high) if limit is not None]
        set_log(axes, "x", min(limits), max(limits))
