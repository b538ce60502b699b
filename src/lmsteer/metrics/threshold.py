"""Where to part two kinds of texts by a score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_threshold(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """The threshold with the most texts on their right side, positive ones above it.

    It lies halfway between two neighboring scores, or 1 beyond the outermost; of several the one next to 0 counts.
    What it does on other texts is for other texts to say.

    Args:
        scores: Of N texts, one at least.
        positive: Whether each is of the kind that should score high.

    Raises:
        ValueError: If there is no text, or not as many of either.

    Example:
        >>> best_threshold([1.0, 2.0, 4.0], [False, False, True])
        3.0
    """
    if not len(scores) or len(scores) != len(positive):
        raise ValueError(f"{len(scores)} scores and {len(positive)} kinds; as many of each, at least 1, are expected")
    levels, place = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)
    gains = np.where(np.asarray(positive, dtype=bool), 1, -1)
    # Raising the threshold over a level loses its positive texts and wins the others.
    right = np.concatenate([[0], -np.cumsum(np.bincount(place, weights=gains))])
    between = np.concatenate([[levels[0] - 1], (levels[:-1] + levels[1:]) / 2, [levels[-1] + 1]])
    best = between[right == right.max()]
    return float(best[np.argmin(np.abs(best))])
