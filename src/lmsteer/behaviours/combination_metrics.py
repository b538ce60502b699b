"""Metrics of combinations of behaviours: the share of outputs that satisfy all, and what the order of them changes.

A rule of composition gives an array of outcomes (C, O, Q): 1 where the output for a question satisfies all behaviours
of a combination, asked in an order. Rules without an order have O = 1. Intervals are over questions, whose outcomes are
drawn together, as outputs for one question are alike.

Shapes: C combinations, O orders, Q questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmsteer.metrics.intervals import Array, Interval, bootstrap_interval
from lmsteer.metrics.paired_test import PairedChange, Sample, paired_change


@dataclass(frozen=True)
class CombinationAccuracy:
    """The accuracy of a rule on some combinations.

    Attributes:
        mean: Share of outputs that satisfy all behaviours, over combinations, orders and questions.
        best: The same for the best order of each combination; None without orders, as the following.
        order_spread: The largest difference between two orders of a combination, as a mean over combinations.
        largest_order_spread: The same as a maximum.
        combinations: Their number C.
    """

    mean: Interval
    best: Interval | None
    order_spread: float | None
    largest_order_spread: float | None
    combinations: int


def combination_accuracy(satisfied_COQ: Array, *, seed: int = 0) -> CombinationAccuracy:
    """Measure a rule.

    The best order is chosen on the very questions that it is measured on, as published, and so is an upper bound.

    Raises:
        ValueError: If there is no combination, order or question.

    Example:
        >>> outcomes = np.array([[[1.0, 1.0], [0.0, 1.0]]])  # one combination, in two orders, for two questions
        >>> accuracy = combination_accuracy(outcomes)
        >>> accuracy.mean.value, accuracy.best.value, accuracy.order_spread
        (0.75, 1.0, 0.5)
    """
    if satisfied_COQ.ndim != 3 or not satisfied_COQ.size:
        raise ValueError(f"outcomes of shape {satisfied_COQ.shape}: (combinations, orders, questions) expected")
    combinations, orders, questions = satisfied_COQ.shape
    mean = bootstrap_interval([by_question(satisfied_COQ)], _mean, seed=seed)
    if orders == 1:
        return CombinationAccuracy(mean, None, None, None, combinations)

    def best(*columns: Array, axis: int) -> Array:
        cells = np.stack([column.mean(axis=axis) for column in columns])
        return np.asarray(cells.reshape(combinations, orders, *cells.shape[1:]).max(axis=1).mean(axis=0))

    spread_C = np.ptp(satisfied_COQ.mean(axis=2), axis=1)
    return CombinationAccuracy(
        mean,
        bootstrap_interval(list(satisfied_COQ.reshape(-1, questions)), best, seed=seed),
        float(spread_C.mean()),
        float(spread_C.max()),
        combinations,
    )


def by_question(satisfied_COQ: Array) -> Array:
    """Return the share of outputs for each question that satisfy all behaviours (Q,)."""
    return np.asarray(satisfied_COQ.mean(axis=(0, 1)))


def accuracy_difference(
    questions: Sequence[str], before_COQ: Array, after_COQ: Array, *, seed: int = 0
) -> PairedChange:
    """Compare two rules on the same combinations and questions: the second's accuracy less the first's.

    The p-value is that of a permutation test that exchanges the rules question by question.

    Raises:
        ValueError: If they are not of the same combinations.

    Example:
        >>> before, after = np.zeros((1, 1, 2)), np.ones((1, 2, 2))
        >>> accuracy_difference(["Why?", "Who?"], before, after).change
        1.0
    """
    if len(before_COQ) != len(after_COQ):
        raise ValueError(f"{len(before_COQ)} and {len(after_COQ)} combinations; the same ones are expected")
    before, after = (Sample(tuple(questions), (by_question(outcomes),)) for outcomes in (before_COQ, after_COQ))
    return paired_change(before, after, _mean, seed=seed)


def clustered_mean(values: Sequence[float], questions: Sequence[str], *, seed: int = 0) -> Interval:
    """Return the mean over answers, with an interval that draws the answers to a question together.

    Raises:
        ValueError: If there are no values, or not one question for each.

    Example:
        >>> clustered_mean([1.0, 2.0, 6.0], ["Why?", "Why?", "Who?"]).value
        3.0
    """
    names = list(dict.fromkeys(questions))
    sums, counts = np.zeros(len(names)), np.zeros(len(names))
    for value, question in zip(values, questions, strict=True):
        sums[names.index(question)] += value
        counts[names.index(question)] += 1

    def ratio(*columns: Array, axis: int) -> Array:
        return np.asarray(columns[0].sum(axis=axis) / columns[1].sum(axis=axis))

    return bootstrap_interval([sums, counts], ratio, seed=seed)


def repeated_ngrams(text: str, n: int = 4) -> float:
    """Return the share of a text's n-grams of words that repeat an earlier one; 0 for a text without any.

    Example:
        >>> repeated_ngrams("so it goes on and so it goes on")
        0.1666...
    """
    words = text.lower().split()
    ngrams = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def _mean(*columns: Array, axis: int) -> Array:
    return np.asarray(columns[0].mean(axis=axis))
