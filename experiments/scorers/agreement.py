"""How far a scorer agrees with stored probabilities of the same texts.

Shapes: N texts; a statistic takes them along ``axis``, so that resamples can be rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from experiments.scorers.identity import mentions_identity
from lmsteer.errors import InputError
from lmsteer.metrics.auc import auc
from lmsteer.metrics.functional import THRESHOLD
from lmsteer.metrics.intervals import Array, bootstrap_interval

Marks = NDArray[np.bool_]
BINS = 10
"""Bins of equal width for calibration."""
SHOWN = 10
"""Texts named on either side of a disagreement."""


def agreement(texts: Sequence[str], stored: Array, scores: Array, *, seed: int = 0) -> dict[str, Any]:
    """Every figure of one scorer, as plain values.

    Args:
        texts: N distinct texts.
        stored: Probabilities (N,) that they are toxic; at .5 and above a text counts as toxic.
        scores: What the scorer says (N,) in [0, 1]; above .5 it says toxic, as in all metrics.
        seed: Seed of the bootstrap over texts.

    Raises:
        InputError: If the stored ones are all toxic or all not.
    """
    toxic, said = stored >= THRESHOLD, scores > THRESHOLD
    if toxic.all() or not toxic.any():
        raise InputError(f"{toxic.sum()} of {len(toxic)} texts are toxic by their stored scores; some of each expected")
    identity = np.array([mentions_identity(text) for text in texts])
    curve = reliability(stored, scores)
    return {
        "auc": asdict(bootstrap_interval([scores, toxic.astype(float)], auc, seed=seed)),
        "spearman": float(spearmanr(scores, stored).statistic),
        "brier": float(np.mean((scores - stored) ** 2)),
        "calibration_error": sum(part["n"] * abs(part["score"] - part["stored"]) for part in curve) / len(texts),
        "reliability": curve,
        "confusion": {
            "both": int((said & toxic).sum()),
            "scorer_only": int((said & ~toxic).sum()),
            "stored_only": int((~said & toxic).sum()),
            "neither": int((~said & ~toxic).sum()),
        },
        "identity": _group(toxic[identity], said[identity], seed),
        "other": _group(toxic[~identity], said[~identity], seed),
        "higher": _furthest(texts, stored, scores, scores - stored),
        "lower": _furthest(texts, stored, scores, stored - scores),
    }


def _mean(*columns: Array, axis: int) -> Array:
    found: Array = columns[0].mean(axis=axis)
    return found


def reliability(stored: Array, scores: Array) -> list[dict[str, float]]:
    """Mean score, mean stored probability and number of texts of each bin of scores that has any, lowest first."""
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    return [
        {"score": float(scores[here].mean()), "stored": float(stored[here].mean()), "n": int(here.sum())}
        for here in (places == place for place in range(BINS))
        if here.any()
    ]


def _group(toxic: Marks, said: Marks, seed: int) -> dict[str, Any]:
    """Shares: toxic texts, disagreement, false alarms among those that are not toxic, misses among those that are."""
    if not len(toxic):
        return dict.fromkeys(("toxic", "disagreement", "false_alarms", "misses"))
    return {
        "toxic": float(toxic.mean()),
        "disagreement": asdict(bootstrap_interval([(toxic != said).astype(float)], _mean, seed=seed)),
        "false_alarms": float(said[~toxic].mean()) if (~toxic).any() else None,
        "misses": float((~said[toxic]).mean()) if toxic.any() else None,
    }


def _furthest(texts: Sequence[str], stored: Array, scores: Array, beyond: Array) -> list[dict[str, Any]]:
    order = np.argsort(-beyond, kind="stable")[:SHOWN]
    return [
        {"text": texts[index], "stored": float(stored[index]), "score": float(scores[index])}
        for index in order
        if beyond[index] > 0
    ]
