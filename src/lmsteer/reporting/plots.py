"""The plot of all pages and studies: values with intervals over an axis; drawn without a window or global state."""

import io
import math
import textwrap
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

from lmsteer.storage.atomic_files import atomic_write

# Okabe and Ito's palette without its yellow, which is too light for lines on white; markers distinguish lines as well.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
LOG_FROM = 5.0
"""Perplexities whose ratio is larger are drawn on a logarithmic axis."""
DODGE = 3.0
"""Points between the intervals of two groups at the same x."""
UNNAMED = {"color": "#444444", "marker": "o"}
"""Look of a group without a name, which has no entry in the legend."""
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


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Axes of one panel of ``metric_vs``.

    Attributes:
        x_ticks: Positions and labels that replace matplotlib's own ticks.
        y_limits: None: from 0 to a little above the largest value.
        log_x: Draw the x axis logarithmically.
        log_y: Draw the y axis logarithmically.
        is_joined: Join the points of a group by a line.
    """

    title: str = ""
    x_label: str = ""
    y_label: str = ""
    x_ticks: Mapping[float, str] | None = None
    y_limits: tuple[float, float] | None = None
    log_x: bool = False
    log_y: bool = False
    is_joined: bool = True


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
            interval. Lines follow the order of the rows. The group ``""`` has no entry in the legend.
        panels: The axes, by the names in ``points.panel``, in the order in which they are drawn.
        columns: Panels in a row.
        references: Columns ``panel`` and ``value``: horizontal dotted lines, such as the plain model's value.
        size: Width and height of a panel in inches.
    """
    groups = list(dict.fromkeys(points["group"]))
    labels = {group: short(group, 60) for group in groups if group}
    columns = min(columns, len(panels))
    lines = math.ceil(len(panels) / columns)
    legend_height = 0.22 * math.ceil(len(labels) / columns) if len(labels) > 1 else 0.0
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(size[0] * columns, size[1] * lines + legend_height), layout="constrained")
        grid = list(figure.subplots(lines, columns, squeeze=False).flat)
        for axes, (name, panel) in zip(grid, panels.items(), strict=False):
            in_panel = points[points["panel"] == name]
            _draw_groups(axes, in_panel, groups, is_joined=panel.is_joined)
            _draw_references(axes, name, references)
            _set_axes(axes, panel, in_panel)
        for axes in grid[len(panels) :]:
            axes.remove()
        if len(labels) > 1:
            handles = [Line2D([], [], **look(groups.index(group)), label=label) for group, label in labels.items()]
            figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return figure


def loss_curve(curve: Mapping[str, Sequence[Sequence[float]]]) -> Figure | None:
    """Draw train and dev loss of a fit, ``{"train": [[step, nats], …], "dev": …}``; None where both are missing."""
    train, dev = ([tuple(point) for point in curve.get(split, ())] for split in ("train", "dev"))
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
        axes.set(xlabel="optimizer steps", ylabel="loss (nats per token)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3, ncols=3)
    return figure


def to_png(figure: Figure) -> bytes:
    """Encode a figure as PNG with 150 pixels an inch; the same figure gives the same bytes."""
    file = io.BytesIO()
    with style.context(["default", STYLE]):
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()


def write_png(path: Path, figure: Figure) -> None:
    """Write a figure as PNG; the file is complete or absent."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(to_png(figure))


def short(name: str, length: int) -> str:
    """Keep the end of a long name, such as of a path, so that the panels keep their room."""
    return name if len(name) <= length else "…" + name[1 - length :]


def look(index: int) -> dict[str, Any]:
    """Choose color, marker and line style of a group by its index."""
    return {
        "color": COLORS[index % len(COLORS)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 5,
        "linestyle": ("-", "--", ":")[index // len(MARKERS) % 3],
        "linewidth": 1.5,
    }


def needs_log(values: Sequence[float]) -> bool:
    """Whether perplexities are so far apart that their axis has to be logarithmic."""
    return max(values) > LOG_FROM * min(values)


def set_log(axes: Axes, side: Literal["x", "y"], low: float, high: float) -> None:
    """Make an axis logarithmic, with ticks at 1, 2 and 5 times the powers of ten around its values."""
    axes.set(**{f"{side}scale": "log", f"{side}lim": (low / 1.3, high * 1.3)})
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def wrap_label(label: str) -> str:
    """Break a label that would be longer than its panel is high."""
    return textwrap.fill(label, 36, break_on_hyphens=False)


def _draw_groups(axes: Axes, points: pd.DataFrame, groups: Sequence[str], *, is_joined: bool) -> None:
    in_panel = [group for group in groups if (points["group"] == group).any()]
    for position, group in enumerate(in_panel):
        line = points[points["group"] == group]
        shift = DODGE * (position - (len(in_panel) - 1) / 2) / 72 / max(1, len(in_panel) / 4)
        transform = axes.transData + ScaledTranslation(shift, 0, axes.figure.dpi_scale_trans)
        bounded = line.dropna(subset=["low", "high"])
        line_look = (
            look(groups.index(group)) | ({} if group else UNNAMED) | ({} if is_joined else {"linestyle": "none"})
        )
        limits = bounded["x"], bounded["low"], bounded["high"]
        if len(bounded):
            axes.vlines(*limits, color=line_look["color"], alpha=0.4, linewidth=2, transform=transform)
        axes.plot(line["x"], line["value"], transform=transform, **line_look)


def _draw_references(axes: Axes, panel: str, references: pd.DataFrame | None) -> None:
    if references is not None:
        for value in references.loc[references["panel"] == panel, "value"]:
            axes.axhline(value, color="#444444", linestyle=":", linewidth=1.2)


def _set_axes(axes: Axes, panel: Panel, points: pd.DataFrame) -> None:
    axes.set_title(short(panel.title, 60), fontsize=10.5, loc="left")
    axes.set(xlabel=panel.x_label, ylabel=wrap_label(panel.y_label))
    if panel.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if len(points):
        axes.set_xlim(_widen(points["x"].min(), points["x"].max(), log=panel.log_x))
    if panel.x_ticks is not None:
        axes.set_xticks(list(panel.x_ticks), list(panel.x_ticks.values()))
    if len(points):
        limits = points[["value", "low", "high"]].to_numpy(dtype=float)
        if panel.log_y:
            set_log(axes, "y", float(np.nanmin(limits)), float(np.nanmax(limits)))
        else:
            axes.set_ylim(panel.y_limits or (0, 1.05 * float(np.nanmax(limits)) or 1))


def _widen(low: float, high: float, *, log: bool) -> tuple[float, float]:
    """Add a margin to both limits; matplotlib's own limits do not count markers that are shifted."""
    if log:
        factor = (high / low) ** 0.07 if high > low else 1.2
        return low / factor, high * factor
    margin = 0.07 * (high - low) or 0.5
    return low - margin, high + margin
