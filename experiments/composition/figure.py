"""The picture of a composition: attributes and log perplexity over both strengths."""

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

from lmsteer.evaluation.results import Result, ResultRow
from lmsteer.reporting.plots import STYLE, short

LEVELS = 12


@dataclass(frozen=True)
class Panel:
    """What a column of panels shows: a metric, its title and colors, and how its values are drawn."""

    metric: str
    title: str
    colors: str
    drawn: Callable[[float], float] = float


PANELS = (
    Panel("positivity", "share positive", "Blues"),
    Panel("expected_maximum_toxicity", "expected max toxicity", "Oranges"),
    Panel("perplexity", "log perplexity", "Greys", math.log),
)


def grid_figure(result: Result, pair: Sequence[str]) -> Figure:
    """A line of panels for each prompt set; the values of the grid stand in them."""
    sets = {
        prompts: [row for row in result.rows if row.prompts == prompts]
        for prompts in dict.fromkeys(row.prompts for row in result.rows)
    }
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(10.5, 0.4 + 2.9 * len(sets)), layout="constrained")
        places = figure.subplots(len(sets), len(PANELS), squeeze=False)
        for column, panel in enumerate(PANELS):
            shown = {prompts: surface(rows, pair, panel) for prompts, rows in sets.items()}
            levels = _levels([values for _, values in shown.values()])
            for axes, (prompts, (strengths, values)) in zip(places[:, column], shown.items(), strict=True):
                drawn = axes.contourf(strengths, strengths, values.T, levels=levels, cmap=panel.colors)
                _label(axes, strengths, values, middle=(levels[0] + levels[-1]) / 2)
                axes.set_xlabel(f"strength of {short(pair[0], 20)}")
                first = f"{short(prompts, 24)}\n\n" if column == 0 else ""
                axes.set_ylabel(f"{first}strength of {short(pair[1], 20)}")
            places[0, column].set_title(panel.title, fontsize=11)
            figure.colorbar(drawn, ax=list(places[:, column]), aspect=40, format="%.2f")
    return figure


def surface(rows: Sequence[ResultRow], pair: Sequence[str], panel: Panel) -> tuple[list[float], NDArray[np.float64]]:
    """The strengths of the grid, rising, and the values at each pair of them: (first attribute, second attribute)."""
    cells = {
        (row.strength.get(pair[0], 0.0), row.strength.get(pair[1], 0.0)): panel.drawn(row.metrics[panel.metric].value)
        for row in rows
        if row.is_plain or (set(row.strength) == set(pair) and not row.budget)
    }
    strengths = sorted({value for cell in cells for value in cell})
    return strengths, np.array([[cells[x, y] for y in strengths] for x in strengths])


def _levels(surfaces: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    low, high = min(float(one.min()) for one in surfaces), max(float(one.max()) for one in surfaces)
    return np.linspace(low, max(high, low + 1e-6), LEVELS)


def _label(axes: Axes, strengths: Sequence[float], values: NDArray[np.float64], *, middle: float) -> None:
    """The values themselves, at the edges moved inward."""
    places = [("left", "bottom", 4), *[("center", "center", 0)] * (len(strengths) - 2), ("right", "top", -4)]
    for (i, x), (j, y) in itertools.product(enumerate(strengths), repeat=2):
        axes.annotate(
            f"{values[i, j]:.2f}".removeprefix("0"),
            (x, y),
            ha=places[i][0],
            va=places[j][1],
            xytext=(places[i][2], places[j][2]),
            textcoords="offset points",
            color="white" if values[i, j] > middle else "black",
            fontsize=9,
        )
    axes.set_xticks(strengths, [f"{x:+g}" if x else "0" for x in strengths])
    axes.set_yticks(strengths, [f"{y:+g}" if y else "0" for y in strengths])
    axes.grid(visible=False)
