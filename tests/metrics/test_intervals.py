import math
import statistics
import tracemalloc

import numpy as np
import pytest

from lmsteer.metrics.intervals import Array, Interval, bootstrap_interval


def mean(*columns: Array, axis: int) -> Array:
    return np.asarray(np.mean(columns[0], axis=axis))


def ratio(*columns: Array, axis: int) -> Array:
    return np.asarray(np.sum(columns[0], axis=axis) / np.sum(columns[1], axis=axis))


def gaussians(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(3.0, 2.0, n)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_of_a_mean_agrees_with_normal_theory(level: float) -> None:
    values = gaussians(2000)
    error = values.std(ddof=1) / math.sqrt(2000)
    half_width = statistics.NormalDist().inv_cdf((1 + level) / 2) * error
    interval = bootstrap_interval([values], mean, level=level, resamples=4000)
    assert interval.low is not None
    assert interval.high is not None
    # A tenth of a standard error: over twice the noise of a 2.5 % quantile of 4000 resamples.
    assert interval.low == pytest.approx(values.mean() - half_width, abs=0.1 * error)
    assert interval.high == pytest.approx(values.mean() + half_width, abs=0.1 * error)
    assert interval.value == values.mean()


def test_the_interval_agrees_with_a_plain_loop_over_resampled_prompts() -> None:
    tokens = np.random.default_rng(1).integers(1, 30, 40).astype(np.float64)
    nats = tokens * np.random.default_rng(2).uniform(1, 5, 40)
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(4000):
        chosen = rng.integers(40, size=40)
        drawn.append(sum(nats[i] for i in chosen) / sum(tokens[i] for i in chosen))
    low, high = np.percentile(drawn, [2.5, 97.5])
    interval = bootstrap_interval([nats, tokens], ratio, resamples=4000)
    assert [interval.low, interval.high] == pytest.approx([low, high], abs=0.15 * float(np.std(drawn)))
    assert interval.value == pytest.approx(sum(nats) / sum(tokens))


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e100])
def test_constant_data_has_an_interval_of_no_width(value: float) -> None:
    interval = bootstrap_interval([np.full(37, value)], mean)
    assert interval.low == interval.value == interval.high


def test_one_prompt_has_a_value_and_no_interval() -> None:
    assert bootstrap_interval([np.array([0.25])], mean) == Interval(value=0.25, low=None, high=None, n=1)


def test_ten_thousand_prompts_stay_small_in_memory() -> None:
    values = gaussians(10_000)
    tracemalloc.start()
    bootstrap_interval([values, values + 1], ratio)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 2**20  # all 2000 resamples at once would take 160 MB per column


@pytest.mark.parametrize(
    ("columns", "level", "resamples", "message"),
    [
        ([], 0.95, 10, "at least 1, is expected"),
        ([[]], 0.95, 10, r"columns have \[0\] prompts"),
        ([[1.0, 2.0], [1.0]], 0.95, 10, r"columns have \[1, 2\] prompts"),
        ([[1.0, 2.0]], 0.0, 10, "level is 0.0"),
        ([[1.0, 2.0]], 95.0, 10, "level is 95.0"),
        ([[1.0, 2.0]], 0.95, 0, "resamples is 0"),
    ],
)
def test_impossible_requests_are_refused_by_name(
    columns: list[list[float]], level: float, resamples: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval([np.array(column) for column in columns], mean, level=level, resamples=resamples)
