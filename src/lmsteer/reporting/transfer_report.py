"""The report of a transferred steer: a table and a picture of all kinds of maps."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lmsteer.reporting.plots import Panel, metric_vs
from lmsteer.reporting.text import markdown_table, number

LABELS = {
    "states": "two maps: hidden states, embeddings",
    "procrustes": "one map: Procrustes on embeddings",
    "ridge": "one map: ridge on embeddings",
    "legacy": "one map: the paper's descent",
}
"""Kinds of map in words, in the order in which they are reported."""


def markdown(model: str, derivation: dict[str, Any]) -> str:
    """Write the report of a steer for ``model``, from the derivation in its file."""
    source, texts, (n_source, n_target) = derivation["source"], derivation["texts"], derivation["tokens"]
    return "\n\n".join(
        [
            f"# Transfer from {source['model']} to {model}",
            f"Map: {derivation['map']} ({LABELS[derivation['map']]}), damping {derivation['damping']:g}. "
            f"{derivation['shared_tokens']:,} tokens are in both vocabularies ({n_source:,} and {n_target:,}); hidden "
            f"states are those of {texts['n']:,} texts of {texts['name']}, without labels, at the "
            f"{derivation['places']:,} positions where a token ends in both tokenizations.",
            maps_table(derivation["held_out"]),
            "On held-out texts and tokens: R² of the source's hidden states and of its embeddings (weighted by the "
            "probability of a token); correlation of the logit changes by the transferred steer with those by the "
            "source steer; gain, the factor that would scale the former to the size of the latter.",
        ]
    )


def maps_table(held_out: dict[str, Any]) -> str:
    """Write measures of each kind of map, a line for each dimension."""
    headings = ["map", "dimension", "R² hidden states", "R² embeddings", "correlation of effects", "gain"]
    rows = [
        [
            kind,
            name,
            *(number(held_out[kind]["r2"][side]) for side in ("states", "embeddings")),
            number(effect["correlation"]),
            f"{effect['gain']:.3g}",
        ]
        for kind in LABELS
        if kind in held_out
        for name, effect in held_out[kind]["effect"].items()
    ]
    return markdown_table(headings, rows)


def maps_figure(derivation: dict[str, Any]) -> Figure:
    """Draw the correlation of effects by kind of map, a marker for each dimension."""
    held_out = derivation["held_out"]
    kinds = [kind for kind in LABELS if kind in held_out]
    points = [
        {"panel": "maps", "group": name, "x": x, "value": effect["correlation"], "low": None, "high": None}
        for x, kind in enumerate(kinds)
        for name, effect in held_out[kind]["effect"].items()
    ]
    frame = pd.DataFrame(points).astype({"low": float, "high": float}).sort_values("group", kind="stable")
    panel = Panel(
        y_label="correlation of effects on held-out texts",
        x_ticks={x: LABELS[kind].replace(": ", ":\n") for x, kind in enumerate(kinds)},
        y_limits=(min(0.0, 1.1 * frame["value"].min()), 1.05),
        is_joined=False,
    )
    return metric_vs(frame, {"maps": panel}, size=(2.2 + 2.2 * len(kinds), 3.3))
