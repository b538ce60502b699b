"""Agreement between raters, from counts of their ratings: Krippendorff's alpha, Fleiss' kappa, raw agreement.

Shapes: I items, C categories. ``counts_IC[i, c]`` is the number of raters who put item i into category c, so that a
rater who left an item out is not counted. Items with one rating say nothing about agreement and are left out.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from lmsteer.metrics.intervals import Array

Level = Literal["nominal", "ordinal"]


def count_ratings(items: Iterable[Iterable[str]], categories: Sequence[str]) -> Array:
    """Count the ratings of each item by category.

    Args:
        items: The ratings of each item.
        categories: All categories, for ordinal agreement in their order.

    Returns:
        Counts (I, C).

    Example:
        >>> count_ratings([["a", "a"], ["b"]], ["a", "b"]).tolist()
        [[2.0, 0.0], [0.0, 1.0]]
    """
    rows = [list(ratings) for ratings in items]
    return np.array([[ratings.count(name) for name in categories] for ratings in rows], float).reshape(
        len(rows), len(categories)
    )


def krippendorff_alpha(counts_IC: Array, level: Level = "nominal") -> float | None:
    """Compute Krippendorff's alpha, 1 - observed / expected disagreement; 1 is perfect, 0 is what chance gives.

    Args:
        counts_IC: Counts of ratings.
        level: nominal: any two categories differ by 1; ordinal: by the square of the ratings between them.

    Returns:
        None if no item has two ratings, or all ratings are of one category.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), sections C and E.

    Example:
        >>> import numpy as np
        >>> krippendorff_alpha(np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
        0.4444444444444444
    """
    counts_IC = _paired(counts_IC)
    if not len(counts_IC):
        return None
    weights_I1 = 1 / (counts_IC.sum(1, keepdims=True) - 1)
    observed_CC = (counts_IC * weights_I1).T @ counts_IC - np.diag((counts_IC * weights_I1).sum(0))
    totals_C = observed_CC.sum(0)
    expected_CC = (np.outer(totals_C, totals_C) - np.diag(totals_C)) / (totals_C.sum() - 1)
    distances_CC = _distances(totals_C, level)
    expected = float((expected_CC * distances_CC).sum())
    return 1 - float((observed_CC * distances_CC).sum()) / expected if expected > 0 else None


def fleiss_kappa(counts_IC: Array) -> float | None:
    """Compute Fleiss' kappa, (raw - chance) / (1 - chance); items may have different numbers of raters.

    Returns:
        None if no item has two ratings, or all ratings are of one category.

    Source: Fleiss, Measuring nominal scale agreement among many raters (1971), equations 3 to 7.
    """
    raw, counts_IC = raw_agreement(counts_IC), _paired(counts_IC)
    if raw is None:
        return None
    chance = float(((counts_IC.sum(0) / counts_IC.sum()) ** 2).sum())
    return (raw - chance) / (1 - chance) if chance < 1 else None


def raw_agreement(counts_IC: Array) -> float | None:
    """Compute the share of pairs of raters of an item that agree, averaged over items; None if no item has a pair."""
    counts_IC = _paired(counts_IC)
    if not len(counts_IC):
        return None
    raters_I = counts_IC.sum(1)
    return float(((counts_IC * (counts_IC - 1)).sum(1) / (raters_I * (raters_I - 1))).mean())


def _paired(counts_IC: Array) -> Array:
    paired_IC: Array = counts_IC[counts_IC.sum(1) > 1]
    return paired_IC


def _distances(totals_C: Array, level: Level) -> Array:
    if level == "nominal":
        return 1 - np.eye(len(totals_C))
    middles_C = np.cumsum(totals_C) - totals_C / 2
    distances_CC: Array = (middles_C[:, None] - middles_C) ** 2
    return distances_CC
