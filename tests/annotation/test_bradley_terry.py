"""Promises of strengths over several rows: known strengths are found, within their intervals as often as they say."""

import itertools

import numpy as np
import pytest

from lmsteer.annotation.bradley_terry import bradley_terry

ROWS, TRUE, TIES = "abcd", np.array([0.8, 0.2, -0.3, -0.7]), 0.6
MATCHES = list(itertools.combinations(ROWS, 2))


def simulate(seed: int, prompts: int = 60) -> np.ndarray:
    """Three answers of each prompt to each match, drawn from Davidson's model."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((prompts, len(MATCHES), 3))
    for number, (i, j) in enumerate(itertools.combinations(range(4), 2)):
        odds = np.exp(np.array([TRUE[i], np.log(TIES) + (TRUE[i] + TRUE[j]) / 2, TRUE[j]]))
        counts[:, number] = rng.multinomial(3, odds / odds.sum(), size=prompts)
    return counts


@pytest.mark.slow
def test_known_strengths_lie_within_their_intervals_in_95_of_100_simulations() -> None:
    fits = [{row.row: row for row in bradley_terry(simulate(seed), MATCHES)} for seed in range(100)]
    inside = [fit[row].low <= TRUE[ROWS.index(row)] <= fit[row].high for fit in fits for row in ROWS]
    assert 0.93 <= np.mean(inside) <= 0.97  # three standard errors of 400 dependent intervals
    means = [np.mean([fit[row].value for fit in fits]) for row in ROWS]
    assert means == pytest.approx(TRUE, abs=0.03)


def test_without_ties_two_rows_have_the_log_odds_of_their_wins() -> None:
    counts = np.array([[[3.0, 0, 1]], [[3, 0, 1]]])
    strong, weak = bradley_terry(counts, [("x", "y")], resamples=10)
    assert (strong.row, weak.row) == ("x", "y")
    assert strong.value - weak.value == pytest.approx(np.log(3), abs=1e-3)


def test_a_row_that_wins_always_has_a_finite_strength() -> None:
    counts = np.zeros((4, 3, 3))
    counts[:, :, 0] = 5
    rows = bradley_terry(counts, [("a", "b"), ("a", "c"), ("b", "c")], resamples=20)
    assert [row.row for row in rows] == ["a", "b", "c"]
    assert all(np.isfinite([row.value, row.low, row.high]).all() for row in rows)
