"""How well scores tell two kinds of texts apart."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from lmsteer.metrics.intervals import Array


def auc(*columns: Array, axis: int) -> Array:
    """Chance that a text of the first kind scores above one of the second, a tie counting half (Mann-Whitney U).

    A statistic for ``bootstrap_interval``: a resample of one kind alone, which says nothing, counts as .5.

    Args:
        columns: Scores, and 1 for texts of the first kind, 0 for the others; of one shape.
        axis: Along which the texts lie.

    Example:
        >>> float(auc(np.array([0.1, 0.9, 0.5]), np.array([0.0, 1.0, 1.0]), axis=-1))
        1.0
    """
    scores, first = columns
    ranks = rankdata(scores, axis=axis)
    ones, zeros = first.sum(axis=axis), (1 - first).sum(axis=axis)
    above = (ranks * first).sum(axis=axis) - ones * (ones + 1) / 2
    pairs = ones * zeros
    return np.where(pairs > 0, above / np.maximum(pairs, 1), 0.5)
