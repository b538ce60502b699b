"""The picture of a look into the one-pass estimator: its spectrum beside the null, and AUC by the number of rows."""

from __future__ import annotations

import math
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.data_efficiency.report import count_axis
from lmsteer.reporting.plots import COLORS, MARKERS, STYLE


def one_pass_figure(found: dict[str, Any]) -> Figure:
    """Draw the content of one_pass.json."""
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(9.0, 3.8), layout="constrained")
        spectrum, growth = figure.subplots(1, 2)
        _spectrum(spectrum, found["sizes"][-1], found["chosen"]["damping"])
        _growth(growth, found)
    return figure


def _spectrum(axes: Axes, one: dict[str, Any], damping: float) -> None:
    sizes, null = one["spectrum"], one["null"]
    axes.axhspan(
        null[0], null[-1], color=COLORS[1], alpha=0.25, linewidth=0, label=f"largest of {len(null)} permutations"
    )
    axes.axhline(one["threshold"], color=COLORS[1], linewidth=1.2, label="threshold")
    places = range(1, len(sizes) + 1)
    axes.scatter(places, sizes, s=14, color=COLORS[0], zorder=3, label=f"estimate, {one['above']} above")
    axes.set_xlabel(f"direction (damping {damping:g})")
    axes.set_ylabel("whitened singular value")
    axes.set_ylim(0)
    axes.legend(loc="upper right")


def _growth(axes: Axes, found: dict[str, Any]) -> None:
    sizes = found["sizes"]
    names = {"null": "rank by the null", "full": "full rank", "add": "constant alone"}
    for place, (rule, name) in enumerate(names.items()):
        rows, color = [one["rows"] for one in sizes], COLORS[place * 2]
        values = [one["rules"][rule]["figures"] for one in sizes]
        axes.plot(rows, [own["value"] for own in values], color=color, marker=MARKERS[place], label=name)
        axes.fill_between(
            rows, [own["low"] for own in values], [own["high"] for own in values], color=color, alpha=0.15, linewidth=0
        )
    for place, (name, value) in enumerate(found["steers"].items()):
        color = COLORS[(2 * place + 1) % len(COLORS)]
        axes.axhline(value["value"], color=color, linestyle=":", linewidth=1.6, label=name)
    axes.axhline(0.5, color="black", linewidth=0.8)
    rows = [one["rows"] for one in sizes]
    ticks = [size for size, larger in zip(rows, [*rows[1:], math.inf], strict=True) if larger > 1.1 * size]
    count_axis(axes, ticks)
    axes.tick_params(axis="x", labelrotation=45)
    axes.set_xlabel("training rows")
    axes.set_ylabel("AUC on texts held out")
    axes.legend(loc="lower right")
