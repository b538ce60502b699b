"""What control costs: the attribute against perplexity, a curve for each kind of row."""

from __future__ import annotations

import math
import textwrap
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
from lmsteer.reporting.comparison_tables import in_table_order, kind_label
from lmsteer.reporting.plots import COLORS, MARKERS, STYLE, short, widened
from lmsteer.reporting.series import DUMMY

COST = "perplexity"
RINGS = {"kl": ("o", "equal KL"), "perplexity": ("s", "equal perplexity")}
"""What is drawn around a row that was calibrated, by the kind of its budget."""
PANELS_ABREAST = 3
NAMED_POINTS = 14  # in a panel; of more, strengths would be written over each other


@dataclass(frozen=True)
class Curve:
    """Rows of one kind by rising strength, and the plain model that stands between them, if it was measured."""

    label: str
    rows: list[ComparisonRow]
    plain: ComparisonRow | None

    @property
    def path(self) -> list[ComparisonRow]:
        """What the line joins; a method without strengths has none."""
        steered = [row for row in self.rows if row.strength]
        return sorted([*steered, *([self.plain] if self.plain else [])], key=_total) if steered else []


def pareto(comparison: Comparison) -> Figure | None:
    """The first attribute by its first scorer against perplexity, a panel for each prompt set, with 95 % intervals.

    None where no row has both.
    """
    metric = next((metric for metric in comparison.metrics if metric.is_attribute), None)
    sets = dict.fromkeys(row.prompts for row in comparison.rows)
    panels = {prompts: found for prompts in sets if metric and (found := curves(comparison, prompts, metric))}
    if metric is None or not panels:
        return None
    kinds = list(dict.fromkeys(curve.label for found in panels.values() for curve in found if not _is_plain(curve)))
    across = min(len(panels), PANELS_ABREAST)
    down = math.ceil(len(panels) / across)
    keys = _keys(panels, kinds)
    with style.context(["default", STYLE]):
        size = (max(6.0, 4.0 * across), 3.4 * down + 0.21 * math.ceil(len(keys) / across) + 0.2)
        figure = Figure(figsize=size, layout="constrained")
        places = list(figure.subplots(down, across, squeeze=False).flat)
        for axes, (prompts, found) in zip(places, panels.items(), strict=False):
            for curve in found:
                _draw(axes, curve, metric, kinds.index(curve.label) if curve.label in kinds else None)
            _name_points(axes, found, metric)
            _name_axes(axes, comparison, metric, found)
            axes.set_title(short(prompts, 40), fontsize=10.5, loc="left")
        for axes in places[len(panels) :]:
            axes.remove()
        figure.legend(handles=keys, loc="outside lower center", ncols=across)
    return figure


def curves(comparison: Comparison, prompts: str, metric: Metric) -> list[Curve]:
    """The rows of a prompt set that have both values, in the order of the table: a curve for each kind."""
    found: dict[str, list[ComparisonRow]] = {}
    both = [row for _, row in in_table_order(comparison, prompts) if {metric.name, COST} <= row.metrics.keys()]
    for row in both:
        found.setdefault(kind_label(comparison, row), []).append(row)
    plain = {row.model: row for row in both if row.is_plain}
    return [Curve(label, sorted(rows, key=_total), plain.get(rows[0].model)) for label, rows in found.items()]


def _total(row: ComparisonRow) -> float:
    return sum(value for name, value in row.strength.items() if name != DUMMY)


def _is_plain(curve: Curve) -> bool:
    return curve.rows[0].is_plain


def _draw(axes: Axes, curve: Curve, metric: Metric, number: int | None) -> None:
    """Draw a curve; ``number`` is that of its kind, None for the plain model."""
    look = _look(number)
    x, y = ([row.metrics[name].interval for row in curve.rows] for name in (COST, metric.name))
    (across, up), color = (_bars(x), _bars(y)), look["color"]
    values = [interval.value for interval in x], [interval.value for interval in y]
    axes.errorbar(*values, xerr=across, yerr=up, fmt="none", ecolor=color, elinewidth=1.6, alpha=0.4)
    if curve.path:
        path = [[row.metrics[name].interval.value for row in curve.path] for name in (COST, metric.name)]
        axes.plot(*path, color=color, linestyle=look["linestyle"], linewidth=1.3, alpha=0.8)
    axes.plot(*values, **(look | {"linestyle": "none"}), zorder=4)
    for row, own_x, own_y in zip(curve.rows, *values, strict=True):
        if ring := RINGS.get(row.budget.partition(" ")[0]):
            axes.plot(own_x, own_y, **_ring(ring[0]), zorder=5)


def _look(number: int | None) -> dict[str, Any]:
    if number is None:
        return {"color": "#000000", "marker": "*", "markersize": 13, "markeredgecolor": "white", "linestyle": "none"}
    return {
        "color": COLORS[number % (len(COLORS) - 1)],  # the last one is black, as the plain model is
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 5.5,
        "linestyle": ("-", "--", ":")[number // len(MARKERS) % 3],
    }


def _ring(marker: str) -> dict[str, Any]:
    return {
        "marker": marker,
        "markersize": 11,
        "linestyle": "none",
        "color": "black",
        "markerfacecolor": "none",
        "markeredgewidth": 0.9,
    }


def _bars(intervals: Sequence[Interval]) -> list[list[float]]:
    """Lengths of the error bars below and above; 0 where there is no interval."""
    limits = [(i.value if i.low is None else i.low, i.value, i.value if i.high is None else i.high) for i in intervals]
    return [[max(0.0, value - low) for low, value, _ in limits], [max(0.0, high - value) for _, value, high in limits]]


def _keys(panels: Mapping[str, Sequence[Curve]], kinds: Sequence[str]) -> list[Line2D]:
    """Entries of the legend: the plain model, kinds of rows, rings."""
    found = [curve for own in panels.values() for curve in own]
    budgets = {row.budget.partition(" ")[0] for curve in found for row in curve.rows}
    keys = [Line2D([], [], **_look(None), label="plain model")] if any(map(_is_plain, found)) else []
    keys += [Line2D([], [], **_look(number), label=short(kind, 60)) for number, kind in enumerate(kinds)]
    return keys + [Line2D([], [], **_ring(m), label=words) for kind, (m, words) in RINGS.items() if kind in budgets]


def _name_points(axes: Axes, found: Sequence[Curve], metric: Metric) -> None:
    """Write strengths beside the points, where there is room."""
    rows = [row for curve in found for row in curve.rows]
    if len(rows) > NAMED_POINTS:
        return
    for row in rows:
        if row.strength:
            place = row.metrics[COST].interval.value, row.metrics[metric.name].interval.value
            axes.annotate(
                f"{_total(row):+.3g}", place, xytext=(6, 5), textcoords="offset points", fontsize=8, color="#444444"
            )


def _name_axes(axes: Axes, comparison: Comparison, metric: Metric, found: Sequence[Curve]) -> None:
    first = next(row for curve in found for row in curve.rows)
    scorer, perplexity_model = first.metrics[metric.name].scorer, first.metrics[COST].scorer
    label = short(f"{metric.words} by {scorer}" if scorer else metric.words, 50)
    axes.set_ylabel(textwrap.fill(label, 36, break_on_hyphens=False))  # in one line it would be higher than the panel
    axes.set_xlabel(f"perplexity under {short(perplexity_model, 30)}" if perplexity_model else COST)
    x, y = ([row.metrics[name].interval for curve in found for row in curve.rows] for name in (COST, metric.name))
    axes.set_ylim(0, min(1.0, 1.15 * max(interval.high or interval.value for interval in y)))
    widened(axes, "x", x)
