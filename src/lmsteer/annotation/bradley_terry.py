"""Strengths of more than two rows from comparisons of pairs: Bradley and Terry's model, with Davidson's ties.

Shapes: P prompts, M matches (pairs of rows), O = 3 outcomes (win, tie, loss), K rows, S statistics (K, and the tie), D
draws of the bootstrap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmsteer.metrics.intervals import Array

RIDGE = 1e-3
"""Weight of the squared parameters: keeps the strength of a row finite that has won or lost all its matches."""
MAX_STEP, MAX_STEPS, TOLERANCE = 2.0, 100, 1e-8
"""Largest change of a parameter in a Newton step, most steps, and the change at which it ends."""


@dataclass(frozen=True)
class RowStrength:
    """The strength of a row in log-odds, with a mean of 0 over the rows, and its 95 % interval.

    Between strengths s and t without ties, the first row is preferred with probability 1 / (1 + exp(t - s)).
    """

    row: str
    value: float
    low: float
    high: float


def bradley_terry(
    counts_PMO: Array, matches: Sequence[tuple[str, str]], *, resamples: int = 1000, seed: int = 0
) -> list[RowStrength]:
    """Fit the strengths of rows, with percentile bootstrap intervals over prompts, from the strongest to the weakest.

    Args:
        counts_PMO: Answers by prompt, match and outcome (win of the first row, tie, loss).
        matches: The two rows of each match.
        resamples: Number of resamples of the prompts.
        seed: Seed of the resamples.

    Source: Davidson, On extending the Bradley-Terry model to accommodate ties (1970), equation 2.3.
    """
    rows = list(dict.fromkeys(row for match in matches for row in match))
    statistics_MOS = np.zeros((len(matches), 3, len(rows) + 1))
    for number, (first, second) in enumerate(matches):
        a, b = rows.index(first), rows.index(second)
        statistics_MOS[number, [0, 2], [a, b]] = 1
        statistics_MOS[number, 1, [a, b, -1]] = 0.5, 0.5, 1
    n_prompts, rng = len(counts_PMO), np.random.default_rng(seed)
    weights_DP = rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=resamples)
    draws_DMO = np.tensordot(weights_DP.astype(float), counts_PMO, axes=1)
    fitted = _strengths(counts_PMO.sum(0)[None], statistics_MOS)[0]
    low, high = np.quantile(_strengths(draws_DMO, statistics_MOS), [0.025, 0.975], axis=0)
    results = [RowStrength(row, float(fitted[k]), float(low[k]), float(high[k])) for k, row in enumerate(rows)]
    return sorted(results, key=lambda result: -result.value)


def _strengths(counts_DMO: Array, statistics_MOS: Array) -> Array:
    """Maximize the likelihood of each draw by Newton's method; return strengths (D, K) with a mean of 0.

    An outcome's log-probability is its statistics times the parameters, up to a constant, so that the likelihood is
    concave: the gradient is the observed minus the expected statistics, the Hessian is minus their covariance.
    """
    size = statistics_MOS.shape[-1]
    parameters_DS, totals_DM1 = np.zeros((len(counts_DMO), size)), counts_DMO.sum(-1, keepdims=True)
    for _ in range(MAX_STEPS):
        logits_DMO = np.einsum("mos,ds->dmo", statistics_MOS, parameters_DS)
        odds_DMO = np.exp(logits_DMO - logits_DMO.max(-1, keepdims=True))
        shares_DMO = odds_DMO / odds_DMO.sum(-1, keepdims=True)
        means_DMS = np.einsum("dmo,mos->dms", shares_DMO, statistics_MOS)
        gradient_DS = np.einsum("dmo,mos->ds", counts_DMO - totals_DM1 * shares_DMO, statistics_MOS)
        expected_DMO = totals_DM1 * shares_DMO
        square_DSS = np.einsum("dmo,mos,mot->dst", expected_DMO, statistics_MOS, statistics_MOS, optimize=True)
        square_DSS -= np.einsum("dms,dmt->dst", totals_DM1 * means_DMS, means_DMS)
        gradient_DS -= RIDGE * parameters_DS
        step_DS = np.linalg.solve(square_DSS + RIDGE * np.eye(size), gradient_DS[..., None])[..., 0]
        step_DS = np.clip(step_DS, -MAX_STEP, MAX_STEP)
        parameters_DS += step_DS
        if np.abs(step_DS).max() < TOLERANCE:
            break
    strengths_DK = parameters_DS[:, :-1]
    centered_DK: Array = strengths_DK - strengths_DK.mean(-1, keepdims=True)
    return centered_DK
