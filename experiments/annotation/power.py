"""How many items does a human evaluation need? Simulate answers whose raters agree as those of a released study did.

python -m experiments.annotation.power

Of each prompt, and then of each of its items, the chances of win, tie and loss are drawn from a Dirichlet distribution,
and raters answer by them. Its concentration is such that two answers to an item correlate by ``RHO``, and answers to
two items of a prompt by ``RHO_PROMPT``.
"""

import numpy as np

from lmsteer.annotation.preferences import sign_test
from lmsteer.metrics.intervals import Array
from lmsteer.reporting.text import markdown_table, number

RHO, RHO_PROMPT = 0.18, 0.05
"""Correlation of two answers to one item, and to two items of one prompt."""
ITEMS, RATERS, PER_PROMPT = (25, 50, 100, 200, 400, 800), (1, 3, 5), 2
RATES = (0.206, 0.686, 0.108)
"""Chances of win, tie and loss: DExperts against GPT-2, less toxic, in the released study."""
SIMULATIONS = 2000


def simulate(items: int, raters: int, rates: tuple[float, ...], rng: np.random.Generator, simulations: int) -> Array:
    """Return counts (simulations, prompts, 3) of win, tie and loss."""
    prompts = -(-items // PER_PROMPT)
    of_prompts = _dirichlet(np.broadcast_to(rates, (simulations, prompts, 3)), RHO_PROMPT, rng)
    # The rest of the correlation within an item, on top of that within its prompt.
    of_items = _dirichlet(np.repeat(of_prompts, PER_PROMPT, axis=1), (RHO - RHO_PROMPT) / (1 - RHO_PROMPT), rng)
    counts = rng.multinomial(raters, of_items[:, :items]).astype(float)
    padding = np.zeros((simulations, prompts * PER_PROMPT - items, 3))
    whole: Array = np.concatenate([counts, padding], axis=1).reshape(simulations, prompts, PER_PROMPT, 3).sum(2)
    return whole


def half_width(counts: Array) -> float:
    """Return half the width of the central 95 % of the share of wins."""
    shares = counts[..., 0].sum(1) / counts.sum((1, 2))
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(high - low) / 2


def power(counts: Array) -> float:
    """Return the share of simulations whose sign test over prompts has p below 0.05."""
    return float(np.mean([sign_test(one).p < 0.05 for one in counts]))


def table(simulations: int = SIMULATIONS, seed: int = 0) -> list[list[str]]:
    """Return a row for each number of items: half the width of the interval, and the power, by number of raters."""
    rng = np.random.default_rng(seed)
    rows = []
    for items in ITEMS:
        drawn = [simulate(items, raters, RATES, rng, simulations) for raters in RATERS]
        rows.append([str(items), *(f"±{number(half_width(c), 3)}" for c in drawn), *(number(power(c)) for c in drawn)])
    return rows


def _dirichlet(means: Array, correlation: float, rng: np.random.Generator) -> Array:
    """Draw chances around means, so that two draws by the same chances correlate as given."""
    gammas = rng.standard_gamma(np.maximum(means, 1e-9) * (1 / correlation - 1)) + 1e-300
    shares: Array = gammas / gammas.sum(-1, keepdims=True)
    return shares


if __name__ == "__main__":
    widths = [f"width, {raters} rater{'s' * (raters > 1)}" for raters in RATERS]
    print(markdown_table(["items", *widths, *(name.replace("width", "power") for name in widths)], table()))
