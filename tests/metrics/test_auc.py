"""Promises of the AUC."""

import numpy as np
import pytest

from lmsteer.metrics.auc import auc
from lmsteer.metrics.intervals import bootstrap_interval


def counted(scores: list[float], first: list[float]) -> float:
    """Pairs in the right order, one by one."""
    pairs = [(a, b) for a, x in zip(scores, first, strict=True) for b, y in zip(scores, first, strict=True) if x > y]
    return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)


def test_it_is_the_share_of_pairs_in_the_right_order_ties_counting_half() -> None:
    noise = np.random.default_rng(0)
    scores = np.round(noise.normal(size=(5, 40)), 1)  # with ties
    first = (noise.random((5, 40)) < 0.4).astype(float)
    rows = [counted(scores[i].tolist(), first[i].tolist()) for i in range(5)]
    assert auc(scores, first, axis=-1).tolist() == pytest.approx(rows)
    assert auc(scores.T, first.T, axis=0).tolist() == pytest.approx(rows)


def test_one_kind_alone_says_nothing_so_few_texts_still_have_an_interval() -> None:
    assert auc(np.array([1.0, 2.0]), np.ones(2), axis=-1) == 0.5
    assert auc(np.array([1.0, 2.0]), np.zeros(2), axis=-1) == 0.5
    interval = bootstrap_interval([np.array([0.1, 0.2, 0.9]), np.array([0.0, 0.0, 1.0])], auc)
    assert (interval.value, interval.high) == (1.0, 1.0)
    assert interval.low == 0.5  # a third of the resamples lacks the only text of the first kind
