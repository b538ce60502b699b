"""Measure how far a scorer agrees with stored probabilities of the same texts.

Shapes: N texts.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from experiments.study import mean_interval
from lmsteer.errors import InputError
from lmsteer.metrics.auc import auc
from lmsteer.metrics.functional import THRESHOLD
from lmsteer.metrics.intervals import Array, bootstrap_interval

Mask = NDArray[np.bool_]
BINS = 10
"""Bins of equal width for calibration."""
QUOTED = 10
"""Texts that are quoted on either side of a disagreement."""
IDENTITY = re.compile(
    r"(?<!\w)(?:m[ae]n|males?|wom[ae]n|females?|girls?"
    r"|gays?|lesbians?|homosexuals?|bisexuals?|transgender|trans|queer|lgbtq?"
    r"|muslims?|islam(?:ic)?|christians?|catholics?|jews?|jewish|hindus?|buddhists?|atheists?"
    r"|blacks?|whites?|asians?|africans?|latin[oa]s?|hispanics?|arabs?|mexicans?|chinese|indians?"
    r"|immigrants?|refugees?|deaf|disabled)(?!\w)",
    re.IGNORECASE,
)
"""Common neutral words for gender, orientation, religion, origin and disability, no slurs; toxicity scorers are known
to err on texts with them."""


def mentions_identity(text: str) -> bool:
    """Return whether a text holds one of the identity words as a whole word."""
    return IDENTITY.search(text) is not None


def measure_agreement(texts: Sequence[str], stored: Array, scores: Array, *, seed: int = 0) -> dict[str, Any]:
    """Compare the scores of one scorer with stored probabilities, as plain values.

    Args:
        texts: N distinct texts.
        stored: Probabilities (N,) that a text is toxic; .5 and above counts as toxic.
        scores: Scores (N,) in [0, 1]; above .5 counts as toxic, as in all metrics.
        seed: Seed of the bootstrap over texts.

    Raises:
        InputError: If the stored probabilities are all toxic or all not toxic.
    """
    toxic, flagged = stored >= THRESHOLD, scores > THRESHOLD
    if toxic.all() or not toxic.any():
        raise InputError(f"{toxic.sum()} of {len(toxic)} texts are toxic by their stored scores; some of each expected")
    identity = np.array([mentions_identity(text) for text in texts])
    curve = reliability_curve(stored, scores)
    return {
        "auc": asdict(bootstrap_interval([scores, toxic.astype(float)], auc, seed=seed)),
        "spearman": float(spearmanr(scores, stored).statistic),
        "brier": float(np.mean((scores - stored) ** 2)),
        "calibration_error": sum(point["n"] * abs(point["score"] - point["stored"]) for point in curve) / len(texts),
        "reliability": curve,
        "confusion": {
            "both": int((flagged & toxic).sum()),
            "scorer_only": int((flagged & ~toxic).sum()),
            "stored_only": int((~flagged & toxic).sum()),
            "neither": int((~flagged & ~toxic).sum()),
        },
        "identity": _error_rates(toxic[identity], flagged[identity], seed),
        "other": _error_rates(toxic[~identity], flagged[~identity], seed),
        "higher": _largest_gaps(texts, stored, scores, scores - stored),
        "lower": _largest_gaps(texts, stored, scores, stored - scores),
    }


def reliability_curve(stored: Array, scores: Array) -> list[dict[str, float]]:
    """Return mean score, mean stored probability and number of texts of each bin of scores that is not empty."""
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    return [
        {"score": float(scores[mask].mean()), "stored": float(stored[mask].mean()), "n": int(mask.sum())}
        for mask in (bins == index for index in range(BINS))
        if mask.any()
    ]


def _error_rates(toxic: Mask, flagged: Mask, seed: int) -> dict[str, Any]:
    """Return the shares of toxic texts, disagreement, false alarms among other texts, and misses among toxic texts."""
    if not len(toxic):
        return dict.fromkeys(("toxic", "disagreement", "false_alarms", "misses"))
    return {
        "toxic": float(toxic.mean()),
        "disagreement": mean_interval((toxic != flagged).astype(float), seed),
        "false_alarms": float(flagged[~toxic].mean()) if (~toxic).any() else None,
        "misses": float((~flagged[toxic]).mean()) if toxic.any() else None,
    }


def _largest_gaps(texts: Sequence[str], stored: Array, scores: Array, gaps: Array) -> list[dict[str, Any]]:
    order = np.argsort(-gaps, kind="stable")[:QUOTED]
    return [
        {"text": texts[index], "stored": float(stored[index]), "score": float(scores[index])}
        for index in order
        if gaps[index] > 0
    ]
