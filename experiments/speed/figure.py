"""The picture of a benchmark: how many times faster, what steering costs, and time against tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.efficiency.published import DECODING_TIME
from experiments.speed.summary import COMPARED, OVERHEADS
from lmsteer.reporting.plots import COLORS, MARKERS, STYLE

NAMES = {
    "fit": "fit,\nextraction included",
    "fit_again": "fit again,\nhidden states stored",
    "generate": "generate,\nagainst one a call",
    "generate_transformers": "generate, against\ntransformers' batches",
    "perplexity": "perplexity,\nagainst one text a call",
    "steering_overhead": "folded",
    "steering_overhead_rows": "strength\nby row",
}


def speed_figure(measured: dict[str, Any]) -> Figure:
    """Draw the content of speed.json."""
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(12.0, 3.9), layout="constrained")
        faster, cost, lines = figure.subplots(1, 3, width_ratios=[5, 2.6, 5])
        _faster(faster, measured)
        _cost(cost, measured)
        _lines(lines, measured["scaling"])
        machine, model = measured["machine"], measured["model"]
        where = machine["device"] if machine["device"] != "cpu" else f"{machine['cpu']}, {machine['threads']} threads"
        figure.suptitle(
            f"{model['name']} ({model['parameters'] / 1e6:.0f} M), {machine['dtype']}, {where}", fontsize=11
        )
    return figure


def _faster(axes: Axes, measured: dict[str, Any]) -> None:
    ratios = [measured[key]["ratio"] for key in COMPARED]
    places = range(len(ratios))
    axes.barh(places, ratios, color=COLORS[0], height=0.62)
    axes.set_yticks(places, [NAMES[key] for key in COMPARED])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * max(*ratios, 1.0))
    for place, ratio in zip(places, ratios, strict=True):
        axes.annotate(f"×{ratio:.3g}", (ratio, place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("times faster than the plain version")


def _cost(axes: Axes, measured: dict[str, Any]) -> None:
    ratios, published = [measured[key]["ratio"] for key in OVERHEADS], DECODING_TIME["LM-Steer"]
    axes.bar(range(len(ratios)), ratios, color=COLORS[2], width=0.55)
    axes.set_xticks(range(len(ratios)), [NAMES[key] for key in OVERHEADS])
    axes.set_ylim(0, 1.22 * max(*ratios, published))
    for place, ratio in enumerate(ratios):
        axes.annotate(f"{ratio:.3f}", (place, ratio), xytext=(0, 3), textcoords="offset points", ha="center")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.axhline(published, color=COLORS[1], linewidth=1.2, linestyle="--")
    axes.annotate(
        f"published: {published}",
        (1, published),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        color=COLORS[1],
    )
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("decoding time over unsteered")


def _lines(axes: Axes, scaling: dict[str, dict[str, list[float]]]) -> None:
    for number, (name, series) in enumerate(scaling.items()):
        tokens, seconds = np.array(series["tokens"]), np.array(series["seconds"])
        color, straight = COLORS[number], straightness(series)
        label = f"{name}, {tokens[-1] / seconds[-1]:,.0f} tokens/s, R² = {straight:.4f}"
        axes.plot(tokens, seconds, color=color, marker=MARKERS[number], markersize=6, linestyle="none", label=label)
        if len(tokens) > 1:
            slope, intercept = np.polyfit(tokens, seconds, 1)
            axes.plot([0, tokens[-1]], [intercept, intercept + slope * tokens[-1]], color=color, linewidth=1.4)
    axes.set_xlim(0)
    axes.set_ylim(0, 1.4 * max(max(series["seconds"]) for series in scaling.values()))  # room for the legend
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("tokens")
    axes.set_ylabel("seconds")
    axes.legend(loc="upper left", borderaxespad=0.2, handletextpad=0.3)


def straightness(series: dict[str, list[float]]) -> float:
    """Share of the variance of seconds that a straight line in tokens explains; 1 for fewer than three sizes."""
    tokens, seconds = np.array(series["tokens"], dtype=float), np.array(series["seconds"])
    if len(tokens) < 3:
        return 1.0
    rest = seconds - np.polyval(np.polyfit(tokens, seconds, 1), tokens)
    return float(1 - rest.var() / seconds.var())
