"""Promises of the threshold, against trying them all."""

import random

import pytest

from lmsteer.metrics.threshold import best_threshold


def right(scores: list[float], positive: list[bool], threshold: float) -> int:
    return sum((score > threshold) == kind for score, kind in zip(scores, positive, strict=True))


def test_no_other_threshold_has_more_texts_on_their_side() -> None:
    noise = random.Random(0)
    for _ in range(300):
        scores = [float(noise.randint(-3, 3)) for _ in range(noise.randint(1, 9))]
        positive = [noise.random() < 0.5 + 0.1 * score for score in scores]
        tried = [right(scores, positive, threshold / 4) for threshold in range(-20, 21)]
        assert right(scores, positive, best_threshold(scores, positive)) == max(tried)


def test_of_several_the_one_next_to_zero_counts() -> None:
    assert best_threshold([-4.0, -1.0, 2.0, 6.0], [False, True, False, True]) == -2.5
    assert best_threshold([-6.0, -1.0, 2.0, 4.0], [False, True, False, True]) == 3


def test_one_kind_alone_lies_on_one_side() -> None:
    assert best_threshold([1.0, 2.0], [True, True]) == 0
    assert best_threshold([1.0, 2.0], [False, False]) == 3


@pytest.mark.parametrize(("scores", "positive"), [([], []), ([1.0], [True, False])])
def test_as_many_of_either_are_needed(scores: list[float], positive: list[bool]) -> None:
    with pytest.raises(ValueError, match="equal numbers"):
        best_threshold(scores, positive)
