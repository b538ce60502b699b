"""What is known of a transferred steer, as Markdown and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from lmsteer.reporting.plots import COLORS, STYLE

LABELS = {
    "states": "two maps: hidden states, embeddings",
    "procrustes": "one map: Procrustes on embeddings",
    "ridge": "one map: ridge on embeddings",
    "legacy": "one map: the paper's descent",
}
"""Kinds of map in words, in the order in which they are told."""


def markdown(model: str, derivation: dict[str, Any]) -> str:
    """The report of a steer for ``model``, from the derivation in its file."""
    source, texts, (ours, theirs) = derivation["source"], derivation["texts"], derivation["tokens"]
    return "\n\n".join(
        [
            f"# Transfer from {source['model']} to {model}",
            f"Map: {derivation['map']} ({LABELS[derivation['map']]}), damping {derivation['damping']:g}. "
            f"{derivation['shared_tokens']:,} tokens are in both vocabularies ({ours:,} and {theirs:,}); hidden states "
            f"are those of {texts['n']:,} texts of {texts['name']}, without labels, at the {derivation['places']:,} "
            "places where a token ends in both tokenizations.",
            kinds_table(derivation["held_out"]),
            "On held-out texts and tokens: R² of the source's hidden states and of its embeddings (weighted by how "
            "likely a token is); correlation of the shift of logits that the transferred steer causes with the one it "
            "was made of; gain, by which the former would have to be multiplied to be as large as the latter.",
        ]
    )


def kinds_table(held_out: dict[str, Any]) -> str:
    """Measures of each kind of map, a line for each of its dimensions."""
    head = ["map", "dimension", "R² hidden states", "R² embeddings", "correlation of effects", "gain"]
    rows = (
        [kind, name, *(f"{found['r2'][side]:.2f}" for side in ("states", "embeddings")), *_effect(effect)]
        for kind, found in _in_order(held_out).items()
        for name, effect in found["effect"].items()
    )
    return _table(head, rows)


def _in_order(held_out: dict[str, Any]) -> dict[str, Any]:
    return {kind: held_out[kind] for kind in LABELS if kind in held_out}


def _effect(effect: dict[str, float]) -> list[str]:
    return [f"{effect['correlation']:.2f}", f"{effect['gain']:.3g}"]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def kinds_figure(derivation: dict[str, Any]) -> Figure:
    """Correlation of effects by kind of map, a bar for each dimension."""
    held_out = _in_order(derivation["held_out"])
    names = list(next(iter(held_out.values()))["effect"])
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(7.5, 0.9 + 0.55 * len(held_out)), layout="constrained")
        axes = figure.subplots()
        height = 0.8 / len(names)
        for turn, name in enumerate(names):
            found = [one["effect"][name]["correlation"] for one in held_out.values()]
            places = [place + (turn - (len(names) - 1) / 2) * height for place in range(len(found))]
            axes.barh(places, found, height=0.9 * height, color=COLORS[turn % len(COLORS)], label=name)
            for place, value in zip(places, found, strict=True):
                axes.annotate(f"{value:.2f}", (max(value, 0), place), (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(held_out)), [LABELS[kind] for kind in held_out])
        axes.invert_yaxis()
        lowest = min(one["effect"][name]["correlation"] for one in held_out.values() for name in names)
        axes.set_xlim(1.1 * min(0, lowest), 1.1)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("correlation of effects on held-out texts")
        if len(names) > 1:
            axes.legend()
    return figure
