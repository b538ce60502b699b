"""How often one row is preferred to another: win, tie and loss, with intervals and a sign test.

Answers to items of one prompt are not independent, so prompts are resampled, and the sign test counts prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmsteer.annotation.judgements import OUTCOMES, Judgement
from lmsteer.metrics.intervals import Array, Interval, bootstrap_interval


@dataclass(frozen=True)
class SignTest:
    """Prompts whose answers are more often for the first row (wins) or the second (losses), and the two-sided p.

    Prompts with as many answers for either are left out. ``p`` is that of a fair coin.
    """

    wins: int
    losses: int
    p: float


def outcome_counts(judgements: Sequence[Judgement]) -> Array:
    """Count outcomes by prompt; return (prompts, 3)."""
    prompts = {prompt: index for index, prompt in enumerate(dict.fromkeys(j.prompt for j in judgements))}
    counts_PO = np.zeros((len(prompts), len(OUTCOMES)))
    for judgement in judgements:
        counts_PO[prompts[judgement.prompt], OUTCOMES.index(judgement.outcome)] += 1
    return counts_PO


def outcome_shares(counts_PO: Array, *, seed: int = 0) -> dict[str, Interval]:
    """Return the share of each outcome among the answers, with a bootstrap interval over prompts."""
    total_P = counts_PO.sum(1)
    return {
        outcome: bootstrap_interval([counts_PO[:, index], total_P], ratio_of_sums, seed=seed)
        for index, outcome in enumerate(OUTCOMES)
    }


def preferred_share(counts_PO: Array, *, seed: int = 0) -> Interval:
    """Return the share of answers for the first row, a tie counting half, with a bootstrap interval over prompts."""
    return bootstrap_interval([counts_PO @ np.array([1, 0.5, 0]), counts_PO.sum(1)], ratio_of_sums, seed=seed)


def sign_test(counts_PO: Array) -> SignTest:
    """Test whether prompts are more often for the first row than for the second, or less often; ties do not count."""
    from scipy.stats import binomtest

    net_P = counts_PO[:, 0] - counts_PO[:, 2]
    wins, losses = int((net_P > 0).sum()), int((net_P < 0).sum())
    return SignTest(wins, losses, float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0)


def first_share(judgements: Sequence[Judgement], *, seed: int = 0) -> Interval | None:
    """Return the share of answers for A, the text shown first, among those for A or B: 0.5 without position bias.

    None if all answers are ties.
    """
    prompts: dict[str, list[float]] = {}
    for judgement in judgements:
        if judgement.shown in ("a", "b"):
            prompts.setdefault(judgement.prompt, []).append(float(judgement.shown == "a"))
    if not prompts:
        return None
    columns = [np.array([sum(values) for values in prompts.values()]), np.array([*map(len, prompts.values())], float)]
    return bootstrap_interval(columns, ratio_of_sums, seed=seed)


def ratio_of_sums(*columns: Array, axis: int) -> Array:
    """Divide the sum of one column by that of another; 0.5 of nothing, which only a resample can be."""
    part, whole = (column.sum(axis) for column in columns)
    return np.asarray(np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.5))
