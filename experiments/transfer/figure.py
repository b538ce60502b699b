"""The picture of the study: positivity steered up and down, by steer, at each budget."""

from __future__ import annotations

from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmsteer.reporting.plots import COLORS, STYLE


def effects_figure(found: dict[str, Any]) -> Figure:
    """Draw the content of transfer.json: a panel for each budget and scorer."""
    budgets = list(dict.fromkeys(row["budget"] for row in found["rows"]))
    steers = list(dict.fromkeys(row["steer"] for row in found["rows"]))
    metrics = list(found["metrics"])
    with style.context(["default", STYLE]):
        size = (4.4 * len(metrics), len(budgets) * (1.2 + 0.42 * len(steers)))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(budgets), len(metrics), squeeze=False, sharex=True, sharey=True)
        for line, budget in zip(panels, budgets, strict=True):
            for axes, metric in zip(line, metrics, strict=True):
                rows = [row for row in found["rows"] if row["budget"] == budget]
                _panel(axes, rows, steers, metric, found["plain"][metric]["value"])
                axes.set_title(f"{budget}, {found['metrics'][metric]}", fontsize=10.5)
        for axes in panels[-1]:
            axes.set_xlabel(metrics[0])
    return figure


def _panel(axes: Axes, rows: list[dict[str, Any]], steers: list[str], metric: str, plain: float) -> None:
    axes.axvline(plain, color="black", linewidth=0.8, linestyle="--")
    for row in rows:
        place, up, value = steers.index(row["steer"]), row["strength"] > 0, row[metric]
        color = COLORS[0] if up else COLORS[1]
        if value["low"] is not None:
            axes.hlines(place, value["low"], value["high"], color=color, linewidth=2)
        axes.plot(value["value"], place, color=color, marker=">" if up else "<", markersize=8)
    axes.set_yticks(range(len(steers)), steers)
    axes.set_ylim(len(steers) - 0.5, -0.5)
    axes.set_xlim(0, 1)
