"""Promises of simulated human evaluations: answers correlate as stated, and widths are those of the formula."""

import numpy as np
import pytest

from experiments.annotation import power


def test_independent_answers_have_the_binomial_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "RHO", 2e-6)
    monkeypatch.setattr(power, "RHO_PROMPT", 1e-6)
    counts = power.simulate(50, 3, (0.2, 0.5, 0.3), np.random.default_rng(0), 4000)
    assert counts.sum((1, 2)).tolist() == [150] * 4000
    assert power.half_width(counts) == pytest.approx(1.96 * (0.2 * 0.8 / 150) ** 0.5, rel=0.06)


def test_answers_to_an_item_and_to_a_prompt_correlate_as_stated() -> None:
    wins = power.simulate(2, 3, (0.2, 0.5, 0.3), np.random.default_rng(1), 40000)[:, 0, 0]
    # Of six answers to a prompt, 12 ordered pairs are of one item and 18 of its two items.
    expected = 0.2 * 0.8 * (6 + 12 * power.RHO + 18 * power.RHO_PROMPT)
    assert wins.var() == pytest.approx(expected, rel=0.03)


def test_rows_without_a_difference_are_found_different_at_most_as_often_as_p_says() -> None:
    counts = power.simulate(100, 3, (0.2, 0.6, 0.2), np.random.default_rng(2), 500)
    assert power.power(counts) <= 0.07
