"""Promises of the best spans, against every choice there is."""

import itertools
import random
from collections.abc import Iterator

import pytest

from lmsteer.analysis.spans import Span, best_spans
from lmsteer.errors import InputError

Choice = tuple[tuple[int, int], ...]


def choices(length: int, most: int, longest: int, start: int = 0) -> Iterator[Choice]:
    """Every set of at most ``most`` disjoint spans of at most ``longest`` items."""
    yield ()
    if most:
        for first in range(start, length):
            for end in range(first + 1, min(first + longest, length) + 1):
                for rest in choices(length, most - 1, longest, end):
                    yield ((first, end), *rest)


def by_brute_force(values: list[int], most: int, longest: int) -> Choice:
    """The best sum, then fewest spans, fewest items, the last span ending first, beginning first, and so on."""

    def rank(choice: Choice) -> tuple[object, ...]:
        total = sum(sum(values[start:end]) for start, end in choice)
        from_behind = [index for start, end in reversed(choice) for index in (end, start)]
        return (-total, len(choice), sum(end - start for start, end in choice), from_behind)

    return min(choices(len(values), most, longest), key=rank)


def ends(spans: list[Span]) -> Choice:
    return tuple((span.start, span.end) for span in spans)


@pytest.mark.parametrize("scale", [1, 2, 1000])  # the smaller, the more ties
def test_spans_are_those_of_a_search_through_all_choices(scale: int) -> None:
    noise = random.Random(scale)
    for _ in range(400):
        values = [noise.randint(-scale, scale) for _ in range(noise.randint(0, 9))]
        most, longest = noise.randint(1, 3), noise.randint(1, 5)
        assert ends(
            best_spans([float(value) for value in values], max_spans=most, max_items=longest)
        ) == by_brute_force(values, most, longest), (values, most, longest)


def test_totals_are_the_sums_of_disjoint_spans_within_the_limits() -> None:
    noise = random.Random(0)
    values = [noise.gauss(0, 1) for _ in range(300)]
    spans = best_spans(values, max_spans=7, max_items=12)
    assert len(spans) == 7
    assert all(0 < span.end - span.start <= 12 for span in spans)
    assert all(before.end <= behind.start for before, behind in itertools.pairwise(spans))
    assert [span.total for span in spans] == pytest.approx([sum(values[span.start : span.end]) for span in spans])


def test_sums_that_are_equal_but_for_rounding_are_told_apart() -> None:
    assert 0.1 + 0.7 == 0.7999999999999999  # as floats add; the numbers themselves add up to more
    assert ends(best_spans([0.1, 0.7, -9.0, 0.7999999999999999], max_spans=1, max_items=2)) == ((0, 2),)
    assert ends(best_spans([1e16, 1.0, -1.0, -1e16, 2.0], max_spans=2, max_items=5)) == ((0, 2), (4, 5))


@pytest.mark.parametrize(("name", "most", "longest"), [("spans=0", 0, 5), ("span_tokens=0", 3, 0), ("spans=-1", -1, 5)])
def test_limits_below_one_are_refused(name: str, most: int, longest: int) -> None:
    with pytest.raises(InputError, match=f"{name}: an integer of 1 or more expected"):
        best_spans([1.0], max_spans=most, max_items=longest)
