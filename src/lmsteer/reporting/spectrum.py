"""The picture of the singular directions of a steer: their sizes, and their evidence for the attribute."""

import pandas as pd
from matplotlib.figure import Figure

from lmsteer.analysis.interpretation_file import Interpretation
from lmsteer.reporting.plots import Panel, metric_vs

MAX_DIRECTIONS = 12
"""Directions whose own evidence and AUC are drawn."""


def spectrum(interpretation: Interpretation) -> Figure:
    """Draw singular values, shares of the evidence, and AUC of single and of the first directions together."""
    alone, chance = interpretation.auc[:MAX_DIRECTIONS], interpretation.chance
    points: list[tuple[object, ...]] = [
        ("size", "", x, size, None, None) for x, size in enumerate(interpretation.sizes, 1)
    ]
    evidence = interpretation.evidence[:MAX_DIRECTIONS]
    points += [("evidence", "", x, share, None, None) for x, share in enumerate(evidence, 1)]
    points += [("auc", "one direction alone", x, auc, None, None) for x, auc in enumerate(alone, 1)]
    intervals = {entry.k: entry.auc for entry in interpretation.cumulative_auc}
    for x, auc in enumerate(interpretation.cumulative, 1):
        limits = (intervals[x].low, intervals[x].high) if x in intervals else (None, None)
        points.append(("auc", "first directions together", x, auc, *limits))
    if chance:
        for x, limits in enumerate(zip(chance.low, chance.high, strict=True), 1):
            points.append(("auc", f"random matrices, {chance.draws} draws", x, sum(limits) / 2, *limits))
    frame = pd.DataFrame(points, columns=["panel", "group", "x", "value", "low", "high"])
    ticks = {float(2**n): f"{2**n}" for n in range(len(interpretation.sizes).bit_length())}
    few_ticks = {x: label for x, label in ticks.items() if x <= MAX_DIRECTIONS}
    lowest = min(0.4, frame.loc[frame["panel"] == "auc", ["value", "low"]].astype(float).min(axis=None))
    panels = {
        "size": Panel(x_label="direction", y_label="singular value", x_ticks=ticks, log_x=True, log_y=True),
        "evidence": Panel(
            x_label="direction",
            y_label="share of the evidence",
            x_ticks=few_ticks,
            y_limits=(min(0.0, 1.1 * min(evidence)) - 0.02, 1.05 * max(evidence)),
            log_x=True,
        ),
        "auc": Panel(x_label="directions", y_label="AUC", x_ticks=ticks, y_limits=(lowest - 0.05, 1.02), log_x=True),
    }
    references = pd.DataFrame({"panel": ["evidence", "auc"], "value": [0.0, 0.5]})
    return metric_vs(
        frame.astype({"low": float, "high": float}), panels, columns=3, references=references, size=(3.3, 3.0)
    )
