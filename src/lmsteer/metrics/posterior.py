"""Posterior and maximum-likelihood strength of a text, from its log-likelihoods at several strengths.

Shapes: S strengths.
"""

import math
from collections.abc import Sequence


def posterior(nats_S: Sequence[float]) -> list[float]:
    """Return the probability of each strength (S,) given the text, under a uniform prior: ``softmax(nats_S)``.

    Args:
        nats_S: Log-likelihood of the text at each strength; at least one.
    """
    top = max(nats_S)
    weights = [math.exp(nats - top) for nats in nats_S]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def mean_strength(strengths: Sequence[float], posterior_S: Sequence[float]) -> float:
    """Return the mean of the strengths under their posterior."""
    return math.fsum(strength * share for strength, share in zip(strengths, posterior_S, strict=True))


def best_strength(strengths: Sequence[float], nats_S: Sequence[float]) -> float:
    """Return the strength of highest log-likelihood, by a parabola through the best strength and its neighbors.

    The first or last strength is returned itself. Of equally good strengths the one nearest to 0 counts.

    Args:
        strengths: S numbers in ascending order.
        nats_S: Log-likelihood of the text at each.

    Example:
        >>> best_strength([-1.0, 0.0, 2.0], [-(v - 0.5) ** 2 for v in (-1.0, 0.0, 2.0)])
        0.5
    """
    best = max(range(len(strengths)), key=lambda index: (nats_S[index], -abs(strengths[index])))
    if best in (0, len(strengths) - 1):
        return float(strengths[best])
    center = strengths[best]
    left, right = strengths[best - 1] - center, strengths[best + 1] - center
    rise_left, rise_right = ((nats_S[index] - nats_S[best]) for index in (best - 1, best + 1))
    curvature = rise_left * right - rise_right * left
    if not curvature:  # all three are equal
        return float(center)
    return center + (rise_left * right**2 - rise_right * left**2) / (2 * curvature)
