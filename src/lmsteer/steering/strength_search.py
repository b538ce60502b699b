"""Find the strength that reaches a budget."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

from lmsteer.errors import InputError
from lmsteer.steering.budget import Budget

logger = logging.getLogger(__name__)
TOLERANCE = {"kl": 0.01, "perplexity": 0.03}
"""Accepted relative difference from the budget; a perplexity is measured on few samples."""
MIN_BRACKET = 0.02
"""Relative width below which a bracket is not divided: the cost jumps there, as one sample decides."""
MAX_STRENGTH = 1e3
MAX_TRIES = 12


class Unreachable(InputError):
    """No strength up to ``MAX_STRENGTH`` reaches the budget."""


@dataclass(frozen=True)
class StrengthResult:
    """A strength, its measured cost (``reached``), and all tried pairs ``(strength, cost)``."""

    strength: float
    reached: float
    tried: tuple[tuple[float, float], ...]


def find_strength(
    cost: Callable[[float], float], budget: Budget, *, direction: int, start: float, at_zero: float
) -> StrengthResult:
    """Find the strength whose cost is ``budget``, by false position (the Illinois variant) in a bracket.

    The search uses a function of the cost that is nearly linear in the strength: the square root of a divergence, the
    logarithm of a ratio of perplexities.

    Args:
        cost: Cost of a strength in the unit of the budget: nats, or a multiple of the plain perplexity.
        direction: Sign of the strength, 1 or -1.
        start: First absolute strength to try, above 0.
        at_zero: Cost at strength 0; with a dummy, above 0 nats or a ratio of 1.

    Raises:
        Unreachable: If strength 0 costs more than the budget, or no strength up to 1000 reaches it.
    """
    linearize = math.sqrt if budget.kind == "kl" else math.log
    tried: list[tuple[float, float]] = []

    def error(size: float) -> float:
        tried.append((direction * size, cost(direction * size)))
        logger.info("%s: strength %+g costs %.4g", budget.label, *tried[-1])
        return linearize(tried[-1][1]) - linearize(budget.value)

    low, low_error = 0.0, linearize(at_zero) - linearize(budget.value)
    if low_error >= 0:
        raise Unreachable(f"budget {budget.label}: strength 0 costs {at_zero:.3g} already, as the dummy is on")
    high, high_error = start, error(start)
    while high_error < 0 and not _is_reached(tried[-1][1], budget):
        low, low_error = high, high_error
        if low >= MAX_STRENGTH:
            raise Unreachable(f"budget {budget.label}: strength {direction * low:+g} costs {tried[-1][1]:.3g} only")
        progress = 1 + high_error / linearize(budget.value)  # fraction of the linearized budget
        high = float(f"{min(MAX_STRENGTH, low * min(8.0, 1.1 / max(progress, 0.1))):.4g}")
        high_error = error(high)
    last_side = 0
    while not _is_reached(tried[-1][1], budget) and len(tried) < MAX_TRIES:
        middle = float(f"{(low * high_error - high * low_error) / (high_error - low_error):.4g}")
        if middle in (low, high) or high - low < MIN_BRACKET * high:
            break
        middle_error = error(middle)
        side = 1 if middle_error < 0 else -1
        if side > 0:
            low, low_error, high_error = middle, middle_error, high_error / (2 if side == last_side else 1)
        else:
            high, high_error, low_error = middle, middle_error, low_error / (2 if side == last_side else 1)
        last_side = side
    best = min(tried, key=lambda point: abs(linearize(point[1]) - linearize(budget.value)))
    if not _is_reached(best[1], budget):
        logger.warning("%s: the cost jumps; strength %+g, which costs %.4g, is the nearest", budget.label, *best)
    return StrengthResult(*best, tuple(tried))


def _is_reached(cost: float, budget: Budget) -> bool:
    return abs(cost - budget.value) <= TOLERANCE[budget.kind] * budget.value
