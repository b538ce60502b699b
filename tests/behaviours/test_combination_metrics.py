"""Promises of the metrics of combinations: hand counts, naive loops, and intervals that draw questions."""

import itertools

import numpy as np
import pytest

from lmsteer.behaviours.combination_metrics import (
    accuracy_difference,
    by_question,
    clustered_mean,
    combination_accuracy,
    repeated_ngrams,
)

QUESTIONS = [f"question {number}" for number in range(12)]
NOISE = np.random.default_rng(0)
OUTCOMES = (NOISE.random((4, 6, 12)) < NOISE.random((4, 6, 1))).astype(float)
"""Four combinations in six orders, for twelve questions."""


def test_mean_best_and_spread_are_those_of_a_hand_count() -> None:
    # Orders of the first combination: 2/4 and 1/4; of the second: 3/4 and 3/4.
    outcomes = np.array([[[1, 1, 0, 0], [0, 0, 0, 1]], [[1, 1, 1, 0], [0, 1, 1, 1]]], dtype=float)
    accuracy = combination_accuracy(outcomes)
    assert accuracy.mean.value == 9 / 16
    assert accuracy.best is not None
    assert accuracy.best.value == (2 / 4 + 3 / 4) / 2
    assert (accuracy.order_spread, accuracy.largest_order_spread) == (0.125, 0.25)
    assert accuracy.combinations == 2


def test_order_metrics_are_those_of_a_loop_over_pairs_of_orders() -> None:
    accuracy = combination_accuracy(OUTCOMES)
    shares = [[row.mean() for row in combination] for combination in OUTCOMES]
    spreads = [max(abs(a - b) for a, b in itertools.combinations(row, 2)) for row in shares]
    assert accuracy.best is not None
    assert accuracy.best.value == pytest.approx(np.mean([max(row) for row in shares]))
    assert accuracy.order_spread == pytest.approx(np.mean(spreads))
    assert accuracy.largest_order_spread == pytest.approx(max(spreads))


def test_a_rule_without_orders_has_no_order_metrics() -> None:
    accuracy = combination_accuracy(OUTCOMES[:, :1])
    assert (accuracy.best, accuracy.order_spread, accuracy.largest_order_spread) == (None, None, None)


def test_intervals_are_those_of_a_loop_over_resampled_questions() -> None:
    accuracy = combination_accuracy(OUTCOMES, seed=3)
    assert accuracy.best is not None
    draws = np.random.default_rng(1).integers(12, size=(4000, 12))
    resampled = [OUTCOMES[:, :, draw] for draw in draws]
    for interval, statistic in (
        (accuracy.mean, lambda outcomes: outcomes.mean()),
        (accuracy.best, lambda outcomes: outcomes.mean(axis=2).max(axis=1).mean()),
    ):
        low, high = np.quantile([statistic(outcomes) for outcomes in resampled], [0.025, 0.975])
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.02)


def test_outputs_for_one_question_count_as_one() -> None:
    same_for_all = np.broadcast_to(OUTCOMES[:1, :1], (40, 6, 12))
    repeated, once = combination_accuracy(np.array(same_for_all)).mean, combination_accuracy(OUTCOMES[:1, :1]).mean
    assert (repeated.low, repeated.high) == (once.low, once.high)


def test_the_difference_of_rules_is_paired_by_question() -> None:
    before, after = OUTCOMES[:, :1], OUTCOMES
    difference = accuracy_difference(QUESTIONS, before, after)
    deltas = by_question(after) - by_question(before)
    assert difference.change == pytest.approx(deltas.mean())
    signs = np.array(list(itertools.product((1, -1), repeat=12)))
    null = (signs * deltas).mean(axis=1)
    exact = (np.abs(null) >= abs(deltas.mean()) - 1e-12).mean()
    assert difference.p == pytest.approx(exact, abs=0.05)
    means = [deltas[draw].mean() for draw in np.random.default_rng(1).integers(12, size=(4000, 12))]
    assert (difference.low, difference.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.02)


def test_a_clustered_mean_draws_the_answers_to_a_question_together() -> None:
    values, questions = [1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"]
    interval = clustered_mean(values, questions)
    assert interval.value == 2.0
    assert (interval.low, interval.high) == (1.0, 5.0)  # both questions may be drawn twice
    assert interval.n == 2


@pytest.mark.parametrize(
    ("text", "share"), [("", 0), ("a b c d", 0), ("a b c d a b c d", 0.2), ("go Go go go GO go", 2 / 3)]
)
def test_repeated_ngrams_are_counted_by_hand(text: str, share: float) -> None:
    assert repeated_ngrams(text) == pytest.approx(share)


def test_outcomes_of_a_wrong_shape_are_refused() -> None:
    for outcomes in (np.zeros((2, 3)), np.zeros((0, 1, 3))):
        with pytest.raises(ValueError, match="combinations, orders, questions"):
            combination_accuracy(outcomes)
    with pytest.raises(ValueError, match="4 and 3 combinations"):
        accuracy_difference(QUESTIONS, OUTCOMES, OUTCOMES[:3])
