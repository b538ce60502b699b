"""Area under the ROC curve, as a statistic for bootstrap intervals."""

import numpy as np
from scipy.stats import rankdata

from lmsteer.metrics.intervals import Array


def auc(*columns: Array, axis: int) -> Array:
    """Return the probability that a positive text scores above a negative one, a tie counting half (Mann-Whitney U).

    In ``bootstrap_interval`` a resample of one class alone counts as .5.

    Args:
        columns: Scores, and 1 for positive texts, 0 for negative ones; of one shape.
        axis: Axis of the texts.

    Example:
        >>> float(auc(np.array([0.1, 0.9, 0.5]), np.array([0.0, 1.0, 1.0]), axis=-1))
        1.0
    """
    scores, positive = columns
    ranks = rankdata(scores, axis=axis)
    positives, negatives = positive.sum(axis=axis), (1 - positive).sum(axis=axis)
    above = (ranks * positive).sum(axis=axis) - positives * (positives + 1) / 2
    pairs = positives * negatives
    return np.where(pairs > 0, above / np.maximum(pairs, 1), 0.5)
