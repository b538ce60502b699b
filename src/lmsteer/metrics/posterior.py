"""Which strength suits a text: from its log-likelihoods at several strengths.

Shapes: S strengths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def posterior(nats_S: Sequence[float]) -> list[float]:
    """Probability of each strength (S,) given the text, all being equally likely before: ``softmax(nats_S)``.

    Args:
        nats_S: Log-likelihood of the text at each strength; one at least.
    """
    top = max(nats_S)
    weights = [math.exp(nats - top) for nats in nats_S]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def mean_strength(strengths: Sequence[float], posterior_S: Sequence[float]) -> float:
    """The mean of the strengths under their posterior."""
    return math.fsum(strength * share for strength, share in zip(strengths, posterior_S, strict=True))


def best_strength(strengths: Sequence[float], nats_S: Sequence[float]) -> float:
    """Where the log-likelihood is highest: the top of the parabola through the best strength and its neighbors.

    At either end of the strengths there is no parabola, and the end itself is the answer. Of equally good strengths
    the one next to 0 counts.

    Args:
        strengths: S numbers, rising.
        nats_S: Log-likelihood of the text at each.

    Example:
        >>> best_strength([-1.0, 0.0, 2.0], [-(v - 0.5) ** 2 for v in (-1.0, 0.0, 2.0)])
        0.5
    """
    best = max(range(len(strengths)), key=lambda place: (nats_S[place], -abs(strengths[place])))
    if best in (0, len(strengths) - 1):
        return float(strengths[best])
    here = strengths[best]
    left, right = strengths[best - 1] - here, strengths[best + 1] - here
    rise_left, rise_right = ((nats_S[place] - nats_S[best]) for place in (best - 1, best + 1))
    bend = rise_left * right - rise_right * left
    if not bend:  # all three are equal
        return float(here)
    return here + (rise_left * right**2 - rise_right * left**2) / (2 * bend)
