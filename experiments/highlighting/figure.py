"""The picture of the deletions: by how much scorers change their mind, by share of tokens and choice of them."""

from __future__ import annotations

from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.highlighting.faithfulness import ORDERS
from lmsteer.reporting.plots import COLORS, MARKERS, STYLE


def faithfulness_figure(found: dict[str, Any]) -> Figure:
    """Draw what ``faithfulness`` found: a panel for each scorer."""
    scorers = found["scorers"]
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(4.0 * len(scorers), 3.4), layout="constrained")
        panels = figure.subplots(1, len(scorers), sharey=True, squeeze=False)[0]
        for axes, (name, by_share) in zip(panels, scorers.items(), strict=True):
            _draw(axes, by_share)
            axes.set_title(name, fontsize=10.5)
        panels[0].set_ylabel("fall of the probability of the side")
        panels[0].legend(loc="upper left")
    return figure


def _draw(axes: Axes, by_share: dict[str, Any]) -> None:
    shares = [100 * float(share) for share in by_share]
    for place, order in enumerate(ORDERS):
        points = [by_order[order]["fall"] for by_order in by_share.values()]
        x = [share + 0.5 * (place - 1) for share in shares]
        color = COLORS[place]
        axes.vlines(x, [p["low"] for p in points], [p["high"] for p in points], color=color, alpha=0.5, linewidth=2.5)
        values = [p["value"] for p in points]
        axes.plot(x, values, color=color, marker=MARKERS[place], markersize=5.5, linewidth=1.6, label=order)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(shares)
    axes.set_xlabel("tokens deleted, per cent")
