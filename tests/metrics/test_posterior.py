"""Promises of the posterior of a strength."""

import math

import pytest

from lmsteer.metrics.posterior import best_strength, mean_strength, posterior

GRID = [-5.0, -2.0, -1.0, 0.0, 1.5, 4.0]


def test_shares_add_up_to_one_and_stand_in_the_ratio_of_the_likelihoods() -> None:
    nats = [-3.0, -1.0, -1.5, -2.0]
    shares = posterior(nats)
    assert sum(shares) == pytest.approx(1)
    assert shares[1] / shares[2] == pytest.approx(math.exp(0.5))
    assert posterior([value - 2000 for value in nats]) == pytest.approx(shares)


def test_a_likelihood_far_above_the_others_takes_all() -> None:
    shares = posterior([-1e6, 0.0, -1e6])
    assert shares == [0, 1, 0]
    assert mean_strength([-5.0, 2.0, 5.0], shares) == 2


def test_the_mean_is_that_of_the_shares() -> None:
    assert mean_strength([-1.0, 0.0, 3.0], [0.25, 0.25, 0.5]) == pytest.approx(1.25)
    assert mean_strength(GRID, posterior([0.0] * 6)) == pytest.approx(sum(GRID) / 6)


@pytest.mark.parametrize("top", [-1.9, -0.7, 0.0, 0.4, 1.5, 2.2])
def test_the_top_of_a_parabola_is_found_on_an_uneven_grid(top: float) -> None:
    assert best_strength(GRID, [-0.3 * (v - top) ** 2 - 7 for v in GRID]) == pytest.approx(top)


def test_at_either_end_the_end_itself_is_best() -> None:
    assert best_strength(GRID, list(GRID)) == 4
    assert best_strength(GRID, [-v for v in GRID]) == -5


def test_of_equally_good_strengths_the_one_next_to_zero_counts() -> None:
    assert best_strength(GRID, [1.0] * 6) == 0
    assert -2 < best_strength([-2.0, -1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]) < 0


def test_the_refined_strength_stays_between_the_neighbors_of_the_best() -> None:
    for nats in ([0.0, 5.0, 5.0, 5.0, 0.0, 0.0], [0.0, 1.0, 2.0, 3.0, 2.9999, -50.0]):
        best = max(range(6), key=lambda index: (nats[index], -abs(GRID[index])))
        assert GRID[best - 1] <= best_strength(GRID, nats) <= GRID[best + 1]
