"""Paired comparison of two measurements on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import permutation_test

from lmsteer.errors import InputError
from lmsteer.metrics.intervals import VALUES_AT_ONCE, Array, Statistic, bootstrap_interval


@dataclass(frozen=True)
class Sample:
    """What a metric measured for each prompt.

    Attributes:
        prompts: Texts of the prompts; distinct.
        columns: Values in the order of the prompts, each (prompts,); NaN where a prompt has none.
    """

    prompts: tuple[str, ...]
    columns: tuple[Array, ...]

    @property
    def measured(self) -> list[Array]:
        """The columns without prompts that have no value."""
        missing = np.isnan(self.columns).any(axis=0)
        return [column[~missing] for column in self.columns]


@dataclass(frozen=True)
class PairedChange:
    """The change from one measurement to another on ``n`` prompts, with its confidence interval; one prompt has none.

    ``p`` is the probability of a change at least as large, either way, if on each prompt the two could as well have
    changed places.
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
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PairedChange:
    """Compare a statistic of two samples, whose values are matched by the text of the prompt.

    The interval is a percentile bootstrap over prompts, both values of a prompt being drawn together. The test lets
    the two values of prompts change places: in all ways where there are at most ``resamples`` of them, else in as many.

    Args:
        ratio: Whether the change is the ratio of the statistics, which then are positive, and not their difference.

    Raises:
        InputError: If the samples are not of the same prompts, or no prompt has a value in both.
        ValueError: If ``level`` or ``resamples`` is out of range.
    """
    columns = matched(before, after)
    half, n = len(before.columns), len(columns[0])
    joined = [np.concatenate(pair) for pair in zip(columns[:half], columns[half:], strict=True)]

    def change(*drawn: Array, axis: int) -> Array:
        first, second = statistic(*drawn[:half], axis=axis), statistic(*drawn[half:], axis=axis)
        return np.asarray(np.log(second) - np.log(first) if ratio else second - first)

    def exchanged(first: Array, second: Array, axis: int) -> Array:
        return change(*(column[place.astype(np.intp)] for place in (first, second) for column in joined), axis=axis)

    found = bootstrap_interval(columns, change, level=level, resamples=resamples, seed=seed)
    p = 1.0  # of one prompt, whose change is as large either way
    if n > 1:
        p = permutation_test(
            (np.arange(n), np.arange(n, 2 * n)),
            exchanged,
            permutation_type="samples",
            vectorized=True,
            axis=-1,
            n_resamples=resamples,
            batch=max(1, VALUES_AT_ONCE // n),
            rng=np.random.default_rng(seed),
        ).pvalue
    numbers = [None if x is None else float(np.exp(x)) if ratio else x for x in (found.value, found.low, found.high)]
    value, low, high = numbers
    assert value is not None
    return PairedChange(change=value, low=low, high=high, p=float(p), n=n)


def matched(before: Sample, after: Sample) -> list[Array]:
    """Columns of both samples, in the order of the first one's prompts; prompts without a value in either are left out.

    Raises:
        InputError: If the samples are not of the same prompts, or no prompt has a value in both.
    """
    columns = [*before.columns, *in_order(after, before.prompts)]
    present = ~np.isnan(columns).any(axis=0)
    if not present.any():
        raise InputError("no prompt has a value in both rows; there is nothing to compare")
    return [column[present] for column in columns]


def in_order(sample: Sample, prompts: Sequence[str]) -> list[Array]:
    """The columns of a sample in another order of its prompts.

    Raises:
        InputError: If these are not its prompts.
    """
    places = {text: place for place, text in enumerate(sample.prompts)}
    shared = len(places.keys() & set(prompts))
    if shared < max(len(places), len(prompts)):
        raise InputError(
            f"{len(places)} prompts are not the {len(prompts)} of the other row ({shared} are in both); "
            "rows of the same prompts are expected"
        )
    order = [places[text] for text in prompts]
    return [column[order] for column in sample.columns]
