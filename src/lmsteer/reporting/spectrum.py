"""The picture of a steer's directions: how large they are, and which carry the attribute."""

from __future__ import annotations

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from lmsteer.analysis.interpretation_file import Interpretation
from lmsteer.reporting.plots import COLORS, STYLE

DRAWN = 12
"""Directions that are drawn one by one."""
AREA = 300.0
"""Points² of the marker of a direction that has all the evidence."""


def spectrum(found: Interpretation) -> Figure:
    """Singular values, AUC of each direction alone, and AUC of the first directions together."""
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(10.0, 3.3), layout="constrained")
        sizes, alone, together = figure.subplots(1, 3)
        _sizes(sizes, found)
        _alone(alone, found)
        _together(together, found)
        low = min(*found.auc[:DRAWN], *found.cumulative, *(found.chance.low if found.chance else [0.5]))
        for axes in (alone, together):
            axes.set_ylim(max(0.0, min(low, 0.4) - 0.05), 1.02)
    return figure


def _sizes(axes: Axes, found: Interpretation) -> None:
    numbers = np.arange(1, len(found.sizes) + 1)
    axes.plot(numbers, found.sizes, color=COLORS[0], marker="o", markersize=3.5, linewidth=1.2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("singular value")
    axes.set_xlabel("direction")
    axes.axvspan(0.7, found.holding + 0.5, color=COLORS[0], alpha=0.12, linewidth=0, label="90 % of the energy")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3)
    _directions(axes, len(found.sizes))


def _alone(axes: Axes, found: Interpretation) -> None:
    """Area by the share of the evidence; hollow where it misleads."""
    for number, (auc, share) in enumerate(zip(found.auc[:DRAWN], found.evidence[:DRAWN], strict=True), 1):
        color, area = COLORS[1] if share >= 0 else "none", 12 + AREA * min(abs(share), 1.0)
        axes.scatter(number, auc, s=area, color=color, edgecolors=COLORS[1], alpha=0.8, clip_on=False)
    axes.axhline(0.5, color="black", linewidth=0.8)
    axes.set_ylabel("AUC of one direction alone")
    axes.set_xlabel("direction; area: its evidence")
    axes.set_xlim(0.2, min(len(found.auc), DRAWN) + 0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _together(axes: Axes, found: Interpretation) -> None:
    numbers = np.arange(1, len(found.cumulative) + 1)
    if found.chance:
        label = f"random, {found.chance.draws} draws"
        axes.fill_between(numbers, found.chance.low, found.chance.high, color="#999999", alpha=0.35, label=label)
    axes.plot(numbers, found.cumulative, color=COLORS[2], linewidth=1.4, label="the steer")
    for one in found.kept:
        if one.auc.low is not None and one.auc.high is not None:
            axes.vlines(one.k, one.auc.low, one.auc.high, color=COLORS[2], alpha=0.6, linewidth=2.5)
    axes.axhline(0.5, color="black", linewidth=0.8)
    axes.set_ylabel("AUC of the first directions")
    axes.set_xlabel("directions together")
    _directions(axes, len(numbers))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3, ncols=2, columnspacing=1.0)


def _directions(axes: Axes, rank: int) -> None:
    """Numbers of directions on a logarithmic axis, so that the first ones have room."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([2**n for n in range(rank.bit_length())]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
