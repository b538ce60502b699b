"""Paired comparison of two measurements on the same prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import permutation_test

from lmsteer.errors import InputError
from lmsteer.metrics.intervals import BATCH_VALUES, Array, Statistic, bootstrap_interval


@dataclass(frozen=True)
class Sample:
    """Values of a metric for each prompt.

    Attributes:
        prompts: Distinct texts of the prompts.
        columns: Values in the order of the prompts, each (prompts,); NaN if a prompt has none.
    """

    prompts: tuple[str, ...]
    columns: tuple[Array, ...]

    @property
    def complete(self) -> list[Array]:
        """Columns without the prompts that have no value."""
        missing = np.isnan(self.columns).any(axis=0)
        return [column[~missing] for column in self.columns]


@dataclass(frozen=True)
class PairedChange:
    """Change between two measurements of ``n`` prompts, with its confidence interval; one prompt has none.

    ``p`` is the two-sided p-value of a permutation test that exchanges the two values of prompts.
    """

    change: float
    low: float | None
    high: float | None
    p: float
    n: int


def paired_change(
    before: Sample,
    after: Sample,
    statistic: Statistic,
    *,
    ratio: bool = False,
    resamples: int = 2000,
    seed: int = 0,
) -> PairedChange:
    """Compare a statistic of two samples, whose values are matched by the text of the prompt.

    The interval is a percentile bootstrap over prompts; both values of a prompt are drawn together. The test exchanges
    the two values of prompts, in all ways if there are at most ``resamples``, else in as many random ways.

    Args:
        ratio: Whether the change is the ratio of the statistics, which must be positive, instead of their difference.

    Raises:
        InputError: If the samples are not of the same prompts, or no prompt has a value in both.
        ValueError: If ``resamples`` is out of range.
    """
    columns = [*before.columns, *in_order(after, before.prompts)]
    present = ~np.isnan(columns).any(axis=0)
    if not present.any():
        raise InputError("no prompt has a value in both rows; there is nothing to compare")
    columns = [column[present] for column in columns]
    half, n = len(before.columns), len(columns[0])
    joined = [np.concatenate(pair) for pair in zip(columns[:half], columns[half:], strict=True)]

    def change(*drawn: Array, axis: int) -> Array:
        first, second = statistic(*drawn[:half], axis=axis), statistic(*drawn[half:], axis=axis)
        return np.asarray(np.log(second) - np.log(first) if ratio else second - first)

    def exchanged(first: Array, second: Array, axis: int) -> Array:
        return change(*(column[index.astype(np.intp)] for index in (first, second) for column in joined), axis=axis)

    interval = bootstrap_interval(columns, change, resamples=resamples, seed=seed)
    p = 1.0  # for one prompt, whose change is as large either way
    if n > 1:
        p = permutation_test(
            (np.arange(n), np.arange(n, 2 * n)),
            exchanged,
            permutation_type="samples",
            vectorized=True,
            axis=-1,
            n_resamples=resamples,
            batch=max(1, BATCH_VALUES // n),
            rng=np.random.default_rng(seed),
        ).pvalue
    bounds = (interval.value, interval.low, interval.high)
    value, low, high = (None if x is None else float(np.exp(x)) if ratio else x for x in bounds)
    assert value is not None
    return PairedChange(change=value, low=low, high=high, p=float(p), n=n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm, 1979): at level a, all that are at most a hold together.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def in_order(sample: Sample, prompts: Sequence[str]) -> list[Array]:
    """Return the columns of a sample in another order of its prompts.

    Raises:
        InputError: If these are not its prompts.
    """
    indices = {text: index for index, text in enumerate(sample.prompts)}
    shared = len(indices.keys() & set(prompts))
    if shared < max(len(indices), len(prompts)):
        raise InputError(
            f"{len(indices)} prompts are not the {len(prompts)} of the other row ({shared} are in both); "
            "rows of the same prompts are expected"
        )
    order = [indices[text] for text in prompts]
    return [column[order] for column in sample.columns]
