"""Pictures of a result and of a fit, drawn without a window or global state."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from lmsteer.evaluation.results import Result, Value
from lmsteer.metrics.intervals import Interval
from lmsteer.reporting.series import Line, lines_of, swept_dimension
from lmsteer.storage.atomic_files import atomic_write

Curve = Mapping[str, Sequence[Sequence[float]]]

# Okabe and Ito's palette less its yellow, which is too light for lines on white; markers tell lines apart as well.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
LOG_FROM = 5.0  # perplexities further apart than this are drawn on a logarithmic axis
DODGE = 3.0  # points between the intervals of two lines; the data stay where they are
STYLE: dict[str, Any] = {
    "text.parse_math": False,
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}


def strength_curve(result: Result) -> Figure | None:
    """Attributes (left) and perplexity (right) along the strength, with 95 % intervals; the plain model stands at 0.

    A prompt set has a line of panels. None where there is nothing to draw: no two strengths, or neither attribute nor
    perplexity.
    """
    found = []
    for prompts in dict.fromkeys(row.prompts for row in result.rows):
        own = result.model_copy(update={"rows": [row for row in result.rows if row.prompts == prompts]})
        attributes = lines_of(own, [metric for metric in own.metrics if metric.is_attribute])
        perplexity = lines_of(own, [metric for metric in own.metrics if metric.base == "perplexity"])
        if attributes or perplexity:
            found.append((own, [lines for lines in (attributes, perplexity) if lines]))
    if not found:
        return None
    across = max(len(panels) for _, panels in found)
    with style.context(["default", STYLE]):
        heights = [3.3 + 0.22 * max(map(len, panels)) for _, panels in found]
        figure = Figure(figsize=(8.0 if across > 1 else 4.8, sum(heights)), layout="constrained")
        places = figure.subplots(len(found), across, squeeze=False, height_ratios=heights)
        for (own, panels), line in zip(found, places, strict=True):
            for axes, lines in zip(line, panels, strict=False):
                _draw_panel(axes, lines, own)
            for axes in line[len(panels) :]:
                axes.remove()
            if len(found) > 1:
                line[0].set_ylabel(f"{short(own.rows[0].prompts, 30)}\n{line[0].get_ylabel()}")
    return figure


def loss_curve(curve: Curve) -> Figure | None:
    """Train and dev loss of a fit, ``{"train": [[step, nats], …], "dev": …}``; None where both are missing."""
    train, dev = ([tuple(point) for point in curve.get(part, ())] for part in ("train", "dev"))
    if not train and not dev:
        return None
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(8.0, 3.2), layout="constrained")
        axes = figure.subplots()
        if train:
            axes.plot(*zip(*train, strict=True), color=COLORS[0], alpha=0.35, linewidth=0.8, label="train (one batch)")
            span = len(train) // 20
            if span > 1:
                means = np.convolve([loss for _, loss in train], np.full(span, 1 / span), mode="valid")
                steps = [step for step, _ in train[span - 1 :]]
                axes.plot(steps, means, color=COLORS[0], linewidth=1.6, label=f"train (mean of {span})")
        if dev:
            axes.plot(*zip(*dev, strict=True), color=COLORS[1], marker="o", markersize=5, linewidth=2, label="dev")
        axes.set_xlabel("optimizer steps")
        axes.set_ylabel("loss (nats per token)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3, ncols=3)
    return figure


def to_png(figure: Figure) -> bytes:
    """The figure as PNG, 1200 pixels wide for two panels; the same figure gives the same bytes."""
    file = io.BytesIO()
    with style.context(["default", STYLE]):
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()


def _draw_panel(axes: Axes, lines: Sequence[Line], result: Result) -> None:
    _draw_lines(axes, lines)
    _strength_axis(axes, lines, swept_dimension(result) or "")
    if not lines[0].metric.is_attribute:
        _perplexity_axis(axes, lines, result)
        return
    words = {line.metric.words for line in lines}
    axes.set_ylabel(f"{short(words.pop(), 30)} (0 to 1)" if len(words) == 1 else "score or share (0 to 1)")
    axes.set_ylim(0, 1)


def _draw_lines(axes: Axes, lines: Sequence[Line]) -> None:
    for i, line in enumerate(lines):
        color, shift = COLORS[i % len(COLORS)], DODGE * (i - (len(lines) - 1) / 2) / 72
        place = axes.transData + ScaledTranslation(shift, 0, axes.figure.dpi_scale_trans)
        bars = [(x, v.low, v.high) for x, v in zip(line.x, line.values, strict=True) if v.low is not None]
        if bars:
            axes.vlines(*zip(*bars, strict=True), color=color, alpha=0.5, linewidth=2.5, transform=place)
        axes.plot(
            line.x,
            [value.value for value in line.values],
            color=color,
            marker=MARKERS[i % len(MARKERS)],
            markersize=5.5,
            linewidth=1.6,
            transform=place,
            label=short(line.label, 42),
        )
    if len(lines) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3)


def _strength_axis(axes: Axes, lines: Sequence[Line], dimension: str) -> None:
    """Name the strengths that were measured, where there is room for them."""
    axes.set_xlabel(f"strength of {short(dimension, 30)}")
    ticks = sorted({x for line in lines for x in line.x})
    margin = 0.07 * (ticks[-1] - ticks[0]) or 1.0
    axes.set_xlim(ticks[0] - margin, ticks[-1] + margin)
    gaps = [b - a for a, b in itertools.pairwise(ticks)]
    if gaps and min(gaps) >= (ticks[-1] - ticks[0]) / 12:
        axes.set_xticks(ticks, [f"{tick:+.4g}" if tick else "plain" for tick in ticks])


def _perplexity_axis(axes: Axes, lines: Sequence[Line], result: Result) -> None:
    perplexity_model = result.protocol.get("perplexity_model")
    axes.set_ylabel(f"perplexity under {short(str(perplexity_model), 30)}" if perplexity_model else "perplexity")
    values = [value for line in lines for value in line.values]
    if not widened(axes, "y", values):
        axes.set_ylim(0, 1.08 * max(_numbers(values)))


def widened(axes: Axes, side: Literal["x", "y"], values: Sequence[Value | Interval]) -> bool:
    """Make a side logarithmic if its perplexities are far apart; whether it was done."""
    points, shown = [value.value for value in values], _numbers(values)
    if max(points) <= LOG_FROM * min(points):
        return False
    axis = axes.xaxis if side == "x" else axes.yaxis
    axes.set(**{f"{side}scale": "log", f"{side}lim": (min(shown) / 1.3, max(shown) * 1.3)})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    return True


def _numbers(values: Sequence[Value | Interval]) -> list[float]:
    """Values and their limits."""
    return [v for value in values for v in (value.value, value.low, value.high) if v is not None]


def short(name: str, length: int) -> str:
    """The end of a long name, as of a path, so that the picture keeps its room."""
    return name if len(name) <= length else "…" + name[1 - length :]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Axes of one panel of ``metric_vs``.

    Attributes:
        x_ticks: Positions and labels that replace matplotlib's own ticks.
        y_limits: None: from 0 to a little above the largest value.
        log_x: Draw the x axis logarithmically.
    """

    title: str = ""
    x_label: str = ""
    y_label: str = ""
    x_ticks: Mapping[float, str] | None = None
    y_limits: tuple[float, float] | None = None
    log_x: bool = False


def metric_vs(
    points: pd.DataFrame,
    panels: Mapping[str, Panel],
    *,
    columns: int = 2,
    references: pd.DataFrame | None = None,
    size: tuple[float, float] = (4.0, 2.9),
) -> Figure:
    """Draw values with their intervals over an x axis: one panel for each metric or setting, one line for each group.

    Args:
        points: Columns ``panel``, ``group``, ``x``, ``value``, ``low`` and ``high``; limits are NaN where there is no
            interval. Lines follow the order of the rows.
        panels: The axes, by the names in ``points.panel``, in the order in which they are drawn.
        columns: Panels in a row.
        references: Columns ``panel`` and ``value``: horizontal dotted lines, such as the plain model's value.
        size: Width and height of a panel in inches.
    """
    groups = list(dict.fromkeys(points["group"]))
    columns = min(columns, len(panels))
    lines = math.ceil(len(panels) / columns)
    legend_height = 0.22 * math.ceil(len(groups) / columns) if len(groups) > 1 else 0.0
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(size[0] * columns, size[1] * lines + legend_height), layout="constrained")
        grid = list(figure.subplots(lines, columns, squeeze=False).flat)
        for axes, (name, panel) in zip(grid, panels.items(), strict=False):
            in_panel = points[points["panel"] == name]
            _draw_groups(axes, in_panel, groups)
            _draw_references(axes, name, references)
            _set_axes(axes, panel, in_panel)
        for axes in grid[len(panels) :]:
            axes.remove()
        if len(groups) > 1:
            handles = [Line2D([], [], **_look(index), label=short(group, 60)) for index, group in enumerate(groups)]
            figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return figure


def _look(index: int) -> dict[str, Any]:
    return {
        "color": COLORS[index % len(COLORS)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 5,
        "linestyle": ("-", "--", ":")[index // len(MARKERS) % 3],
        "linewidth": 1.5,
    }


def _draw_groups(axes: Axes, points: pd.DataFrame, groups: Sequence[str]) -> None:
    for index, group in enumerate(groups):
        line = points[points["group"] == group]
        shift = DODGE * (index - (len(groups) - 1) / 2) / 72 / max(1, len(groups) / 4)
        transform = axes.transData + ScaledTranslation(shift, 0, axes.figure.dpi_scale_trans)
        bounded = line.dropna(subset=["low", "high"])
        look = _look(index)
        axes.vlines(
            bounded["x"],
            bounded["low"],
            bounded["high"],
            color=look["color"],
            alpha=0.4,
            linewidth=2,
            transform=transform,
        )
        axes.plot(line["x"], line["value"], transform=transform, **look)


def _draw_references(axes: Axes, panel: str, references: pd.DataFrame | None) -> None:
    if references is not None:
        for value in references.loc[references["panel"] == panel, "value"]:
            axes.axhline(value, color="#444444", linestyle=":", linewidth=1.2)


def _set_axes(axes: Axes, panel: Panel, points: pd.DataFrame) -> None:
    axes.set_title(short(panel.title, 60), fontsize=10.5, loc="left")
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label)
    if panel.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if len(points):
        axes.set_xlim(_widen(points["x"].min(), points["x"].max(), log=panel.log_x))
    if panel.x_ticks is not None:
        axes.set_xticks(list(panel.x_ticks), list(panel.x_ticks.values()))
    if len(points):
        highest = float(np.nanmax(points[["value", "high"]].to_numpy(dtype=float)))
        axes.set_ylim(panel.y_limits or (0, 1.05 * highest))


def _widen(low: float, high: float, *, log: bool) -> tuple[float, float]:
    """Add a margin to both limits; matplotlib's own limits do not count markers that are shifted."""
    if log:
        factor = (high / low) ** 0.07 if high > low else 1.2
        return low / factor, high * factor
    margin = 0.07 * (high - low) or 0.5
    return low - margin, high + margin


def write_png(path: Path, figure: Figure) -> None:
    """Write a figure as PNG; the file is complete or absent."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(to_png(figure))
