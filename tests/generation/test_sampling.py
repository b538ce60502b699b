"""Promises of the sampler and its noise."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.generation.noise import sample_key, uniform
from lmsteer.generation.sampling import Greedy, Nucleus


def random_noise(rows: np.ndarray, draw: int) -> np.ndarray:
    return RANDOM.random(len(rows))


RANDOM = np.random.default_rng(0)


def sorted_nucleus(logits_V: Tensor, p: float) -> Tensor:
    """Probabilities after nucleus filtering, by sorting the vocabulary."""
    probability = logits_V.double().softmax(-1)
    values, order = probability.sort(descending=True)
    nucleus = order[(values.cumsum(-1) - values) < p]
    filtered = torch.zeros_like(probability)
    filtered[nucleus] = probability[nucleus]
    return filtered / filtered.sum()


@pytest.mark.parametrize(("p", "spread"), [(0.9, 1.0), (0.9, 4.0), (0.3, 2.0), (1.0, 2.0)])
def test_nucleus_by_rejection_has_the_distribution_of_the_sorting_version(p: float, spread: float) -> None:
    logits = torch.randn(700, generator=torch.Generator().manual_seed(1)) * spread
    drawn = Nucleus(p=p).choose(logits.repeat(40_000, 1), random_noise)
    expected = sorted_nucleus(logits, p) * 40_000
    counts = torch.bincount(drawn, minlength=700).double()
    assert counts[expected == 0].sum() == 0
    rare = expected < 5  # pooled, as the test asks for five expected counts a cell
    observed = torch.cat([counts[~rare], counts[rare].sum()[None]])
    pooled = torch.cat([expected[~rare], expected[rare].sum()[None]])
    keep = pooled > 0
    assert stats.chisquare(observed[keep].numpy(), pooled[keep].numpy()).pvalue > 1e-3


def test_a_tiny_nucleus_is_greedy() -> None:
    logits = torch.randn(50, 300)
    assert torch.equal(Nucleus(p=1e-6).choose(logits.clone(), random_noise), Greedy().choose(logits, random_noise))


def test_a_rows_token_does_not_depend_on_the_rows_beside_it() -> None:
    logits, keys = torch.randn(64, 500), np.arange(64, dtype=np.uint64)
    whole = Nucleus().choose(logits.clone(), lambda rows, draw: uniform(keys[rows], 3, draw))
    half = Nucleus().choose(logits[32:], lambda rows, draw: uniform(keys[32:][rows], 3, draw))
    assert torch.equal(whole[32:], half)


@pytest.mark.parametrize("bad", [0.0, 1.5, float("nan")])
def test_an_impossible_p_is_refused(bad: float) -> None:
    with pytest.raises(InputError, match=r"decoding.p=.*\(0, 1\]"):
        Nucleus(p=bad)


def test_noise_is_uniform_and_uncorrelated_over_keys_steps_and_draws() -> None:
    keys = np.array([sample_key(0, f"prompt {i}", s) for i in range(200) for s in range(5)], dtype=np.uint64)
    grid = np.stack([uniform(keys, step, draw) for step in range(20) for draw in range(2)])
    assert stats.kstest(grid.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(grid)[np.triu_indices(40, 1)]).max() < 0.15
    assert len(np.unique(grid)) == grid.size


def test_noise_depends_on_seed_prompt_and_sample() -> None:
    keys = {sample_key(seed, prompt, sample) for seed in (0, 1) for prompt in ("a", "b") for sample in (0, 1)}
    assert len(keys) == 8
    assert sample_key(0, "a", 1) == sample_key(0, "a", 1)
