"""The picture of the singular directions of a steer: their sizes, and their evidence for the attribute."""

from __future__ import annotations

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from lmsteer.analysis.interpretation_file import Interpretation
from lmsteer.reporting.plots import COLORS, STYLE

MAX_DIRECTIONS = 12
"""Directions in the panel of single directions."""
MAX_AREA = 300.0
"""Area of the marker of a direction with all the evidence, in points²."""


def spectrum(result: Interpretation) -> Figure:
    """Draw singular values, AUC of each direction alone, and AUC of the first directions together."""
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(10.0, 3.3), layout="constrained")
        sizes, alone, together = figure.subplots(1, 3)
        _sizes(sizes, result)
        _alone(alone, result)
        _together(together, result)
        low = min(
            *result.auc[:MAX_DIRECTIONS],
            *result.cumulative,
            *(result.chance.low if result.chance else [0.5]),
        )
        for axes in (alone, together):
            axes.set_ylim(max(0.0, min(low, 0.4) - 0.05), 1.02)
    return figure


def _sizes(axes: Axes, result: Interpretation) -> None:
    numbers = np.arange(1, len(result.sizes) + 1)
    axes.plot(numbers, result.sizes, color=COLORS[0], marker="o", markersize=3.5, linewidth=1.2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("singular value")
    axes.set_xlabel("direction")
    axes.axvspan(0.7, result.holding + 0.5, color=COLORS[0], alpha=0.12, linewidth=0, label="90 % of the energy")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3)
    _number_directions(axes, len(result.sizes))


def _alone(axes: Axes, result: Interpretation) -> None:
    """Draw markers whose area is the share of the evidence; they are hollow where it is negative."""
    for number, (auc, share) in enumerate(
        zip(result.auc[:MAX_DIRECTIONS], result.evidence[:MAX_DIRECTIONS], strict=True), 1
    ):
        color, area = COLORS[1] if share >= 0 else "none", 12 + MAX_AREA * min(abs(share), 1.0)
        axes.scatter(number, auc, s=area, color=color, edgecolors=COLORS[1], alpha=0.8, clip_on=False)
    axes.axhline(0.5, color="black", linewidth=0.8)
    axes.set_ylabel("AUC of one direction alone")
    axes.set_xlabel("direction; area: its evidence")
    axes.set_xlim(0.2, min(len(result.auc), MAX_DIRECTIONS) + 0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _together(axes: Axes, result: Interpretation) -> None:
    numbers = np.arange(1, len(result.cumulative) + 1)
    if result.chance:
        label = f"random, {result.chance.draws} draws"
        axes.fill_between(numbers, result.chance.low, result.chance.high, color="#999999", alpha=0.35, label=label)
    axes.plot(numbers, result.cumulative, color=COLORS[2], linewidth=1.4, label="the steer")
    for entry in result.kept:
        if entry.auc.low is not None and entry.auc.high is not None:
            axes.vlines(entry.k, entry.auc.low, entry.auc.high, color=COLORS[2], alpha=0.6, linewidth=2.5)
    axes.axhline(0.5, color="black", linewidth=0.8)
    axes.set_ylabel("AUC of the first directions")
    axes.set_xlabel("directions together")
    _number_directions(axes, len(numbers))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3, ncols=2, columnspacing=1.0)


def _number_directions(axes: Axes, rank: int) -> None:
    """Put numbers of directions on a logarithmic axis, so that the first ones have room."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([2**n for n in range(rank.bit_length())]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
