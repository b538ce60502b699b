"""Choose a threshold that separates two classes of texts by a score."""

from collections.abc import Sequence

import numpy as np


def best_threshold(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Return the threshold with the most correctly classified texts; positive texts score above it.

    It is halfway between two neighboring scores, or 1 beyond the outermost; of several the one nearest to 0 counts.
    Its accuracy must be measured on other texts.

    Args:
        scores: Scores of N texts, at least one.
        positive: Whether each text is positive.

    Raises:
        ValueError: If there is no text, or the numbers differ.

    Example:
        >>> best_threshold([1.0, 2.0, 4.0], [False, False, True])
        3.0
    """
    if not len(scores) or len(scores) != len(positive):
        raise ValueError(f"{len(scores)} scores and {len(positive)} labels; equal numbers, at least 1, are expected")
    levels, level_index = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)
    gains = np.where(np.asarray(positive, dtype=bool), 1, -1)
    # Raising the threshold over a level loses its positive texts and gains the others.
    correct = np.concatenate([[0], -np.cumsum(np.bincount(level_index, weights=gains))])
    between = np.concatenate([[levels[0] - 1], (levels[:-1] + levels[1:]) / 2, [levels[-1] + 1]])
    best = between[correct == correct.max()]
    return float(best[np.argmin(np.abs(best))])
