"""The picture of a comparison: reliability curves, and disagreement where identities are mentioned and elsewhere."""

from __future__ import annotations

from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.scorers.report import number
from lmsteer.reporting.plots import COLORS, MARKERS, STYLE

GROUPS = {"identity": "mentions an identity", "other": "others"}
MOST_AREA = 260.0
"""Points² of the marker of a bin that holds all texts."""


def agreement_figure(found: dict[str, Any]) -> Figure:
    """Draw the content of scorers.json."""
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(8.0, 4.0), layout="constrained")
        curves, bars = figure.subplots(1, 2, width_ratios=[5, 4])
        _reliability(curves, found)
        _disagreement(bars, found["scorers"])
    return figure


def _reliability(axes: Axes, found: dict[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    for place, (name, one) in enumerate(found["scorers"].items()):
        color, parts = COLORS[place % len(COLORS)], one["reliability"]
        x, y = [part["score"] for part in parts], [part["stored"] for part in parts]
        axes.plot(x, y, color=color, linewidth=1.4, label=f"{name}, AUC {number(one['auc']['value'], 3)}")
        sizes = [8 + MOST_AREA * part["n"] / found["texts"] for part in parts]
        axes.scatter(x, y, s=sizes, color=color, marker=MARKERS[place % len(MARKERS)], alpha=0.75)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("score (mean of a bin; size: texts in it)")
    axes.set_ylabel("stored probability (mean of the bin)")
    axes.legend(loc="upper left", borderaxespad=0.2)


def _disagreement(axes: Axes, scorers: dict[str, Any]) -> None:
    width = 0.8 / len(scorers)
    for turn, one in enumerate(scorers.values()):
        for place, group in enumerate(GROUPS):
            if (rate := one[group]["disagreement"]) is None:
                continue
            x = place + (turn - (len(scorers) - 1) / 2) * width
            color = COLORS[turn % len(COLORS)]
            axes.bar(x, 100 * rate["value"], width=0.92 * width, color=color)
            if rate["low"] is not None:
                axes.vlines(x, 100 * rate["low"], 100 * rate["high"], color="black", linewidth=1.2)
    axes.set_xticks(range(len(GROUPS)), list(GROUPS.values()))
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0)
    axes.set_ylabel("disagreement at .5, per cent of texts")
