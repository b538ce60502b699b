"""The few stretches of a sequence that hold most of a sum."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from lmsteer.errors import InputError


@dataclass(frozen=True)
class Span:
    """The items from ``start`` to before ``end``, and the sum of their values."""

    start: int
    end: int
    total: float


def best_spans(values: Sequence[float], *, most: int = 4, longest: int = 10) -> list[Span]:
    """Disjoint spans whose values have the largest sum: an optimum, found in ``O(len(values) * most)``.

    Two spans may touch, so that a stretch longer than ``longest`` can be covered. No span at all has the sum 0. Among
    choices of one sum the one of fewest spans counts, then that of fewest items; if there are still several, the one
    whose last span ends first, then begins first, and so on from behind. Sums are exact, so equal ones are equal.

    Args:
        values: Finite numbers, such as the evidence of the tokens of a text.
        most: Spans, at most (Han et al., 2024: 4).
        longest: Items of a span, at most (Han et al., 2024: 10).

    Raises:
        InputError: If ``most`` or ``longest`` is below 1.

    Example:
        >>> [(span.start, span.end) for span in best_spans([1.0, -2.0, 3.0, -1.0, 2.0, -4.0], most=1)]
        [(2, 5)]
    """
    for name, value in (("spans", most), ("span_tokens", longest)):
        if value < 1:
            raise InputError(f"{name}={value}: an integer of 1 or more expected")
    weights, span_cost = _weights(values, most)
    sums = [0]
    for weight in weights:
        sums.append(sums[-1] + weight)
    best, rows = [0] * len(sums), []
    for _ in range(min(most, len(values))):
        best, starts = _one_more(best, sums, longest, span_cost)
        rows.append(starts)
    return [Span(start, end, float(sum(map(Fraction, values[start:end])))) for start, end in _traced(rows)]


def _weights(values: Sequence[float], most: int) -> tuple[list[int], int]:
    """Integers in the values' ratios, less a cost of each item, and the cost of a span: too little to decide anything
    but between equal sums."""
    exact = [Fraction(value) for value in values]
    finest = max((value.denominator for value in exact), default=1)  # all are powers of 2
    span_cost = len(values) + 1
    unit = (most + 1) * span_cost
    return [int(value * finest) * unit - 1 for value in exact], span_cost


def _one_more(before: list[int], sums: list[int], longest: int, span_cost: int) -> tuple[list[int], list[int]]:
    """What the first i items are worth, for every i, with one span more than ``before``.

    Returns with it, for every i, where the last span begins that ends there, or -1 if item i - 1 is in no span. Starts
    wait in a queue, the best one in front: one that is worse than a later one will never be the best again.
    """
    best, starts, queue = [0], [-1], deque[tuple[int, int]]()
    for end in range(1, len(sums)):
        gain = before[end - 1] - sums[end - 1]
        while queue and queue[-1][0] < gain:
            queue.pop()
        queue.append((gain, end - 1))
        if queue[0][1] < end - longest:
            queue.popleft()
        worth = queue[0][0] + sums[end] - span_cost
        best.append(max(best[-1], worth))
        starts.append(queue[0][1] if worth > best[-2] else -1)
    return best, starts


def _traced(rows: list[list[int]]) -> list[tuple[int, int]]:
    """The spans of the best choice, first to last."""
    found, end = [], len(rows[0]) - 1 if rows else 0
    for starts in reversed(rows):
        while end and starts[end] < 0:
            end -= 1
        if not end:
            break
        found.append((starts[end], end))
        end = starts[end]
    return found[::-1]
