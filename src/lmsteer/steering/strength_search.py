"""Search for the strength whose cost is a budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lmsteer.errors import InputError
from lmsteer.steering.budget import Budget

Measure = Callable[[float], float]
"""Cost of a strength."""


TOLERANCE = {"kl": 0.01, "perplexity": 0.03}
"""Relative difference from the budget that is good enough; a perplexity is measured on few samples."""


NARROW = 0.02
"""Brackets narrower than this share of the strength are not parted: there the cost jumps, as one sample decides."""


LARGEST = 1e3
"""Strengths beyond it are not tried."""


TRIES = 12


class Unreachable(InputError):
    """No strength in reach costs what a budget allows."""


@dataclass(frozen=True)
class Calibrated:
    """A strength, the cost that was measured at it, and all ``(strength, cost)`` that were tried."""

    strength: float
    reached: float
    tried: tuple[tuple[float, float], ...]


def calibrate(measure: Measure, budget: Budget, *, direction: int, start: float, at_zero: float) -> Calibrated:
    """Find the strength whose cost is ``budget``, by false position (the Illinois variant) in a bracket.

    Both costs are made nearly straight in the strength first: the root of a divergence, the logarithm of a ratio.

    Args:
        measure: Cost of a strength in the kind of the budget: nats, or a multiple of the plain perplexity.
        direction: 1 or -1, the sign of the strength.
        start: Where to begin, above 0.
        at_zero: Cost at strength 0; above 0 nats or 1 where a dummy is on.

    Raises:
        Unreachable: If the cost at 0 is above the budget already, or no strength up to 1000 reaches it.
    """
    straight = math.sqrt if budget.kind == "kl" else math.log
    tried: list[tuple[float, float]] = []

    def error(size: float) -> float:
        tried.append((direction * size, measure(direction * size)))
        print(f"{budget.label}: strength {direction * size:+g} costs {tried[-1][1]:.4g}", flush=True)
        return straight(tried[-1][1]) - straight(budget.value)

    low, low_error = 0.0, straight(at_zero) - straight(budget.value)
    if low_error >= 0:
        raise Unreachable(f"budget {budget.label}: strength 0 costs {at_zero:.3g} already, as the dummy is on")
    high, high_error = start, error(start)
    while high_error < 0 and not _reached(tried[-1][1], budget):
        low, low_error = high, high_error
        if low >= LARGEST:
            raise Unreachable(f"budget {budget.label}: strength {direction * low:+g} costs {tried[-1][1]:.3g} only")
        progress = 1 + high_error / straight(budget.value)  # share of the straight line that is gone
        high = float(f"{min(LARGEST, low * min(8.0, 1.1 / max(progress, 0.1))):.4g}")
        high_error = error(high)
    last = 0
    while not _reached(tried[-1][1], budget) and len(tried) < TRIES:
        middle = float(f"{(low * high_error - high * low_error) / (high_error - low_error):.4g}")
        if middle in (low, high) or high - low < NARROW * high:
            break
        found = error(middle)
        side = 1 if found < 0 else -1
        if side > 0:
            low, low_error, high_error = middle, found, high_error / (2 if side == last else 1)
        else:
            high, high_error, low_error = middle, found, low_error / (2 if side == last else 1)
        last = side
    best = min(tried, key=lambda point: abs(straight(point[1]) - straight(budget.value)))
    if not _reached(best[1], budget):
        print(f"{budget.label}: the cost jumps; strength {best[0]:+g}, which costs {best[1]:.4g}, is the nearest")
    return Calibrated(*best, tuple(tried))


def _reached(cost: float, budget: Budget) -> bool:
    return abs(cost - budget.value) <= TOLERANCE[budget.kind] * budget.value
