"""Find the few spans of a sequence that hold most of a sum."""

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


def best_spans(values: Sequence[float], *, max_spans: int = 4, max_items: int = 10) -> list[Span]:
    """Find the disjoint spans with the largest sum of values, in ``O(len(values) * max_spans)``.

    Two spans may touch, so that a stretch longer than ``max_items`` can be covered. No span at all has the sum 0. Among
    choices with equal sums (they are exact) the one with the fewest spans counts, then that with the fewest items, then
    that whose last span ends first, then begins first, and so on backwards.

    Args:
        values: Finite numbers, such as the evidence of the tokens of a text.
        max_spans: Maximum number of spans (Han et al., 2024: 4).
        max_items: Maximum number of items of a span (Han et al., 2024: 10).

    Raises:
        InputError: If ``max_spans`` or ``max_items`` is below 1.

    Example:
        >>> [(span.start, span.end) for span in best_spans([1.0, -2.0, 3.0, -1.0, 2.0, -4.0], max_spans=1)]
        [(2, 5)]
    """
    for name, value in (("spans", max_spans), ("span_tokens", max_items)):
        if value < 1:
            raise InputError(f"{name}={value}: an integer of 1 or more expected")
    weights, span_cost = _weights(values, max_spans)
    sums = [0]
    for weight in weights:
        sums.append(sums[-1] + weight)
    best, rows = [0] * len(sums), []
    for _ in range(min(max_spans, len(values))):
        best, starts = _one_more(best, sums, max_items, span_cost)
        rows.append(starts)
    return [Span(start, end, float(sum(map(Fraction, values[start:end])))) for start, end in _traced(rows)]


def _weights(values: Sequence[float], max_spans: int) -> tuple[list[int], int]:
    """Return integer weights in the ratios of the values, minus a cost of each item, and the cost of a span.

    The costs are so small that they decide only between equal sums.
    """
    exact = [Fraction(value) for value in values]
    finest = max((value.denominator for value in exact), default=1)  # all are powers of 2
    span_cost = len(values) + 1
    unit = (max_spans + 1) * span_cost
    return [int(value * finest) * unit - 1 for value in exact], span_cost


def _one_more(before: list[int], sums: list[int], max_items: int, span_cost: int) -> tuple[list[int], list[int]]:
    """Return the largest sum of the first i items, for every i, with one span more than ``before``.

    The second list holds, for every i, the start of the span that ends there, or -1 if item i - 1 is in no span. Starts
    wait in a queue, the best one first: one that is worse than a later one is never the best again.
    """
    best, starts, queue = [0], [-1], deque[tuple[int, int]]()
    for end in range(1, len(sums)):
        gain = before[end - 1] - sums[end - 1]
        while queue and queue[-1][0] < gain:
            queue.pop()
        queue.append((gain, end - 1))
        if queue[0][1] < end - max_items:
            queue.popleft()
        total = queue[0][0] + sums[end] - span_cost
        best.append(max(best[-1], total))
        starts.append(queue[0][1] if total > best[-2] else -1)
    return best, starts


def _traced(rows: list[list[int]]) -> list[tuple[int, int]]:
    """Return the spans of the best choice, first to last."""
    spans, end = [], len(rows[0]) - 1 if rows else 0
    for starts in reversed(rows):
        while end and starts[end] < 0:
            end -= 1
        if not end:
            break
        spans.append((starts[end], end))
        end = starts[end]
    return spans[::-1]
