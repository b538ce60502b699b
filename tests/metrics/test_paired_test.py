import itertools
import tracemalloc

import numpy as np
import pytest
from scipy.stats import ttest_rel

from lmsteer.errors import InputError
from lmsteer.metrics.intervals import Array
from lmsteer.metrics.paired_test import Sample, holm, paired_change


def mean(*columns: Array, axis: int) -> Array:
    return np.asarray(np.mean(columns[0], axis=axis))


def rate(*columns: Array, axis: int) -> Array:
    return np.asarray(np.exp(np.sum(columns[0], axis=axis) / np.sum(columns[1], axis=axis)))


def sample(*columns: list[float] | Array) -> Sample:
    arrays = tuple(np.array(column, dtype=np.float64) for column in columns)
    return Sample(tuple(f"prompt {i}" for i in range(len(arrays[0]))), arrays)


def related(n: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    before = rng.normal(3, 2, n)
    return before, before + rng.normal(0.05, 0.5, n)


def test_few_prompts_are_tested_by_every_exchange() -> None:
    before, after = (sample(column) for column in related(8))
    observed = float(np.mean(after.columns[0] - before.columns[0]))
    every = [
        np.mean(np.array(signs) * (after.columns[0] - before.columns[0]))
        for signs in itertools.product((-1, 1), repeat=8)
    ]
    larger = sum(x >= observed - 1e-12 for x in every), sum(x <= observed + 1e-12 for x in every)
    result = paired_change(before, after, mean)
    assert result.change == pytest.approx(observed, abs=1e-15)
    assert result.p == pytest.approx(min(1.0, 2 * min(larger) / 256), abs=1e-12)


def test_a_ratio_of_two_columns_is_tested_by_exchanging_both_of_a_prompt() -> None:
    rng = np.random.default_rng(5)
    first, second = ((rng.uniform(5, 30, 7), rng.integers(3, 12, 7).astype(np.float64)) for _ in range(2))
    observed = np.log(rate(*second, axis=-1) / rate(*first, axis=-1))
    every = []
    for swapped in itertools.product((False, True), repeat=7):
        one, two = (
            [np.where(swapped, b, a) for a, b in zip(*pair, strict=True)] for pair in ((first, second), (second, first))
        )
        every.append(float(np.log(rate(*two, axis=-1) / rate(*one, axis=-1))))
    larger = sum(x >= observed - 1e-12 for x in every), sum(x <= observed + 1e-12 for x in every)
    result = paired_change(sample(*first), sample(*second), rate, ratio=True)
    assert result.change == pytest.approx(float(np.exp(observed)), rel=1e-12)
    assert result.p == pytest.approx(min(1.0, 2 * min(larger) / 128), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_many_prompts_agree_with_the_paired_t_test(seed: int) -> None:
    before, after = related(300, seed)
    theory = ttest_rel(after, before)
    limits = theory.confidence_interval(0.95)
    result = paired_change(sample(before), sample(after), mean)
    assert result.p == pytest.approx(float(theory.pvalue), abs=0.04)
    assert [result.low, result.high] == pytest.approx([limits.low, limits.high], abs=0.01)
    assert result.n == 300


@pytest.mark.parametrize("n", [1, 5, 40])
def test_identical_rows_do_not_differ(n: int) -> None:
    row = sample(related(n)[0] ** 2 + 1)
    for ratio in (False, True):
        result = paired_change(row, row, mean, ratio=ratio)
        unchanged = 1.0 if ratio else 0.0
        assert (result.change, result.p) == (unchanged, 1.0)
        assert {result.low, result.high} == ({None} if n == 1 else {unchanged})


def test_prompts_are_matched_by_text_and_those_without_a_value_are_left_out() -> None:
    before = Sample(("a", "b", "c", "d"), (np.array([0.0, 1.0, 2.0, np.nan]),))
    after = Sample(("d", "c", "b", "a"), (np.array([9.0, 2.5, np.nan, 0.5]),))
    result = paired_change(before, after, mean)
    assert (result.change, result.low, result.high, result.n) == (0.5, 0.5, 0.5, 2)


@pytest.mark.parametrize(("prompts", "shared"), [(("a", "x"), 1), (("a",), 1), (("a", "b", "c"), 2), (("x", "y"), 0)])
def test_other_prompts_are_refused_with_their_numbers(prompts: tuple[str, ...], shared: int) -> None:
    before = Sample(("a", "b"), (np.zeros(2),))
    after = Sample(prompts, (np.zeros(len(prompts)),))
    message = rf"{len(prompts)} prompts are not the 2 of the other row \({shared} are in both\)"
    with pytest.raises(InputError, match=message):
        paired_change(before, after, mean)


def test_nothing_to_compare_is_refused() -> None:
    before, after = sample([1.0, np.nan]), sample([np.nan, 1.0])
    with pytest.raises(InputError, match="no prompt has a value in both"):
        paired_change(before, after, mean)


def test_ten_thousand_prompts_stay_small_in_memory() -> None:
    before, after = (sample(column) for column in related(10_000))
    tracemalloc.start()
    paired_change(before, after, mean, resamples=400)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 128 * 2**20  # all at once take 340 MB


def test_same_seed_same_comparison() -> None:
    before, after = (sample(column) for column in related(60))
    assert paired_change(before, after, mean, seed=1) == paired_change(before, after, mean, seed=1)
    assert paired_change(before, after, mean, seed=1) != paired_change(before, after, mean, seed=2)


@pytest.mark.parametrize("p_values", [[], [0.04], [0.01, 0.04, 0.03], [0.5, 0.5], [0.001, 0.2, 0.012, 0.01, 0.9]])
def test_holm_rejects_what_its_steps_reject(p_values: list[float]) -> None:
    for level in (0.01, 0.05, 0.2):
        rejected, left = set(), sorted(range(len(p_values)), key=lambda index: p_values[index])
        while left and p_values[left[0]] <= level / len(left):
            rejected.add(left.pop(0))
        assert {index for index, p in enumerate(holm(p_values)) if p <= level + 1e-12} == rejected
