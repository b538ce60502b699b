"""Bootstrap intervals over prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BATCH_VALUES = 2**20
"""Resampled values in memory at once, per column (8 MiB)."""


class Statistic(Protocol):
    """A function that reduces columns of per-prompt values along ``axis``."""

    def __call__(self, *columns: Array, axis: int) -> Array:
        """Reduce the columns, all of one shape, along ``axis``."""
        ...


@dataclass(frozen=True)
class Interval:
    """A value and its confidence interval over ``n`` prompts; a single prompt has no interval."""

    value: float
    low: float | None
    high: float | None
    n: int


def bootstrap_interval(
    columns: Sequence[Array], statistic: Statistic, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Compute the percentile bootstrap interval of a statistic; prompts are drawn with replacement.

    Args:
        columns: Per-prompt values, each (prompts,); the columns of a prompt are drawn together.
        statistic: Function of the columns.
        level: Confidence level, in (0, 1).
        resamples: Number of resamples, >= 1.
        seed: Seed of the draws.

    Raises:
        ValueError: If there is no prompt, the columns differ in length, or ``level`` or ``resamples`` is out of range.
    """
    from scipy.stats import bootstrap  # options are checked without it

    sizes = {len(column) for column in columns}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"columns have {sorted(sizes)} prompts; one number, at least 1, is expected")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; a value between 0 and 1 is expected")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; at least 1 is expected")
    (n,) = sizes
    value = float(statistic(*columns, axis=-1))
    if n == 1:
        return Interval(value=value, low=None, high=None, n=n)
    interval = bootstrap(
        columns,
        statistic,
        paired=True,
        vectorized=True,
        axis=-1,
        method="percentile",
        confidence_level=level,
        n_resamples=resamples,
        batch=max(1, BATCH_VALUES // n),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(value=value, low=float(interval.low), high=float(interval.high), n=n)
