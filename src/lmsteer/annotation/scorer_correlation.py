"""Correlation of raters with automatic scorers, item by item: which scorer to believe."""

from collections.abc import Mapping, Sequence

import numpy as np

from lmsteer.annotation.answer_key import Study
from lmsteer.annotation.judgements import OUTCOMES, Judgement
from lmsteer.metrics.intervals import Array, Interval, bootstrap_interval

WORTH = dict(zip(OUTCOMES, (1.0, 0.0, -1.0), strict=True))
MIN_ITEMS = 3
Scores = Mapping[str, Mapping[str, Sequence[float]]]
"""By scorer and item the score of each text, in the order shown."""


def stored_scores(study: Study) -> dict[str, dict[str, Sequence[float]]]:
    """Return the scores that the key has."""
    scores: dict[str, dict[str, Sequence[float]]] = {}
    for item, key in study.key.items.items():
        for name, values in key.scores.items():
            scores.setdefault(name, {})[item] = values
    return scores


def correlate(
    judgements: Sequence[Judgement], scores: Scores, study: Study, *, seed: int = 0
) -> dict[str, tuple[Interval, int]]:
    """Correlate the answers to one question with each scorer, by Spearman's rank correlation over items.

    An item counts with the mean of its answers, from 1 (all for the first row) to -1, and with the score of the first
    row's text minus that of the second's; in the form single with the score of its text. Intervals are a bootstrap over
    prompts, with ranks of all items.

    Returns:
        By scorer the correlation and the number of items; scorers with fewer than 3 items, or the same value for all,
        are left out.
    """
    worths: dict[str, list[float]] = {}
    for judgement in judgements:
        worths.setdefault(judgement.item, []).append(WORTH[judgement.outcome])
    results = {}
    for name, of_item in scores.items():
        items = [item for item in worths if item in of_item]
        people = np.array([np.mean(worths[item]) for item in items])
        automatic = np.array([_difference(of_item[item], is_reversed=study.is_reversed(item)) for item in items])
        if len(items) >= MIN_ITEMS and np.ptp(people) > 0 and np.ptp(automatic) > 0:
            prompts = [study.key.items[item].prompt for item in items]
            results[name] = _rank_correlation(people, automatic, prompts, seed), len(items)
    return results


def _difference(scores: Sequence[float], *, is_reversed: bool) -> float:
    value = scores[0] - (scores[1] if len(scores) > 1 else 0.0)
    return -value if is_reversed else value


def _rank_correlation(x: Array, y: Array, prompts: Sequence[str], seed: int) -> Interval:
    from scipy.stats import rankdata

    x, y = rankdata(x) - (len(x) + 1) / 2, rankdata(y) - (len(y) + 1) / 2
    index = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    cluster = [index[prompt] for prompt in prompts]
    columns = [
        np.bincount(cluster, values).astype(np.float64) for values in (np.ones_like(x), x, y, x * x, y * y, x * y)
    ]
    return bootstrap_interval(columns, _pearson, seed=seed)


def _pearson(*columns: Array, axis: int) -> Array:
    """Compute the correlation from sums; 0 where a resample has no variation."""
    n, x, y, xx, yy, xy = (column.sum(axis) for column in columns)
    variances = (xx - x * x / n) * (yy - y * y / n)
    return np.asarray(np.where(variances > 1e-9, (xy - x * y / n) / np.sqrt(np.maximum(variances, 1e-9)), 0.0))
