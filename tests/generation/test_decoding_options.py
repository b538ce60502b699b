"""Promises of the options of decoding: temperature, top k, whose nucleus remains, and where texts end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.generation.decoding import ENDED, decode
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Greedy, Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture, Source
from lmsteer.models.random_models import tiny
from lmsteer.records import Prompt
from lmsteer.scoring.perplexity import continuation_nll
from lmsteer.steering.steer import Steer

DRAWS, VOCABULARY = 40_000, 300
RANDOM = np.random.default_rng(0)
PROMPT = "The film is"


def random_noise(rows: np.ndarray, draw: int) -> np.ndarray:
    return RANDOM.random(len(rows))


def logits(seed: int, spread: float = 2.0) -> Tensor:
    return torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed)) * spread


def sorted_set(logits_V: Tensor, p: float, top_k: int = 0) -> list[int]:
    """The tokens of the top k and then of their nucleus, by sorting, one at a time."""
    order = sorted(range(len(logits_V)), key=lambda token: -float(logits_V[token]))[: top_k or None]
    weights = logits_V[order].double().softmax(-1).tolist()
    remaining, mass = [], 0.0
    for token, weight in zip(order, weights, strict=True):
        if mass >= p:
            break
        remaining.append(token)
        mass += weight
    return remaining


def distribution(logits_V: Tensor, remaining: Sequence[int]) -> Tensor:
    """The softmax over the tokens that remain."""
    masked = torch.full_like(logits_V, -torch.inf, dtype=torch.float64)
    masked[list(remaining)] = logits_V[list(remaining)].double()
    return masked.softmax(-1)


def assert_drawn_from(drawn: Tensor, probability_V: Tensor) -> None:
    """The draws have the distribution, by a chi-squared test in which rare tokens are pooled."""
    counts, expected = torch.bincount(drawn, minlength=len(probability_V)).double(), probability_V * len(drawn)
    assert counts[expected == 0].sum() == 0
    rare = expected < 5
    observed = torch.cat([counts[~rare], counts[rare].sum()[None]])
    pooled = torch.cat([expected[~rare], expected[rare].sum()[None]])
    cells = pooled > 0
    assert stats.chisquare(observed[cells].numpy(), pooled[cells].numpy()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("p", "temperature", "top_k"), [(0.9, 0.5, 0), (0.9, 2.0, 0), (1.0, 1.0, 7), (0.8, 1.5, 20), (1.0, 0.7, 1000)]
)
def test_temperature_then_top_k_then_nucleus_as_a_sorting_version_has_them(
    p: float, temperature: float, top_k: int
) -> None:
    logits_V = logits(1)
    drawn = Nucleus(p=p, temperature=temperature, top_k=top_k).choose(logits_V.repeat(DRAWS, 1), random_noise)
    remaining = sorted_set(logits_V / temperature, p, top_k)
    assert_drawn_from(drawn, distribution(logits_V / temperature, remaining))


def test_equally_likely_tokens_remain_or_go_together() -> None:
    logits_BV = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]])
    assert Nucleus(p=1.0, top_k=2).kept(logits_BV).tolist() == [[True, True, True, True, False]]
    assert Nucleus(p=0.5).kept(logits_BV).tolist() == [[True, True, True, True, False]]
    assert Nucleus(p=0.2).kept(logits_BV).tolist() == [[True, False, False, False, False]]


@pytest.mark.parametrize(("p", "top_k"), [(0.9, 0), (0.3, 0), (1.0, 9), (0.7, 30)])
def test_the_tokens_that_remain_are_those_of_the_sorting_version(p: float, top_k: int) -> None:
    for seed in range(20):
        logits_V = logits(seed)
        (row_V,) = Nucleus(p=p, top_k=top_k).kept(logits_V[None])
        assert row_V.nonzero()[:, 0].tolist() == sorted(sorted_set(logits_V, p, top_k))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_base_filter_samples_as_dexperts_does(temperature: float) -> None:
    """The nucleus of the base model's logits, then pure sampling from the mixed ones (Liu et al., 2021)."""
    base_V, mixed_V = logits(3), logits(3) + logits(4, 1.5)
    remaining = sorted_set(base_V, 0.8)
    assert sorted(remaining) != sorted(sorted_set(mixed_V, 0.8)), "the case needs two sets"
    drawn = Nucleus(p=0.8, filter="base", temperature=temperature).choose(
        mixed_V.repeat(DRAWS, 1), random_noise, base_V.repeat(DRAWS, 1)
    )
    assert_drawn_from(drawn, distribution(mixed_V / temperature, remaining))


def plain_sets(model: LanguageModel, texts: Sequence[str], p: float) -> list[set[int]]:
    """Of each text the tokens in the plain model's nucleus, those that are never written left out."""
    sets = []
    for ids in model.tokenize(list(texts)):
        plain_V = model.lm(input_ids=torch.tensor([ids])).logits[0, -1]
        plain_V[[0, *range(384, len(plain_V))]] = -torch.inf
        sets.append(set(sorted_set(plain_V, p)))
    return sets


def mixtures(model: LanguageModel) -> dict[str, Mixture]:
    """A steered head, a shifted readout, a source that reads something else, and two sources."""
    steer = Steer(32, dimensions=["tone"], rank=4, epsilon=0.3, init_std=0.5, seed=1)
    shift_V = torch.randn(len(model.head.weight), generator=torch.Generator().manual_seed(2)) * 3
    prompted = Source(model, model.head, prefix="dull and slow ")
    return {
        "steered": steer.at(model, {"tone": 5.0}),
        "shifted": Mixture((Source(model, lambda hidden: model.head(hidden) + shift_V),)),
        "prompted": Mixture((prompted,)),
        "contrast": Mixture((Source(model, model.head), prompted), lambda z, past: z[0] - 4 * (z[1] - z[0])),
    }


@pytest.mark.parametrize("name", ["steered", "shifted", "prompted", "contrast"])
def test_the_base_filter_keeps_the_nucleus_of_the_plain_model_whatever_is_mixed(
    model: LanguageModel, name: str
) -> None:
    mixture, keys = mixtures(model)[name], np.arange(500, dtype=np.uint64)
    (allowed,) = plain_sets(model, [PROMPT], 0.3)
    for rule, is_inside in (
        (Nucleus(p=0.3, filter="base", max_new_tokens=1), True),
        (Nucleus(max_new_tokens=1), False),
    ):
        drawn = set(decode(model, mixture, [PROMPT], keys, rule).ids_BT[:, 0].tolist())
        assert (drawn <= allowed) == is_inside


def test_decoding_by_the_base_filter_has_the_distribution_of_a_naive_sampler() -> None:
    model = tiny()
    mixture = mixtures(model)["contrast"]
    keys = np.random.default_rng(5).integers(0, 2**63, DRAWS).astype(np.uint64)
    rule = Nucleus(p=0.7, filter="base", max_new_tokens=1)
    drawn = torch.cat([decode(model, mixture, [PROMPT], part, rule).ids_BT[:, 0] for part in np.split(keys, 10)])
    rows = [model.tokenize([text])[0] for text in (PROMPT, "dull and slow " + PROMPT)]
    plain_V, prompted_V = (model.lm(input_ids=torch.tensor([ids])).logits[0, -1].detach() for ids in rows)
    (allowed,) = plain_sets(model, [PROMPT], 0.7)
    assert_drawn_from(drawn, distribution(plain_V - 4 * (prompted_V - plain_V), sorted(allowed)))


def eager_to_end() -> tuple[LanguageModel, Mixture]:
    """A model, and a mixture that ends texts often."""
    model = tiny()
    end_V = torch.zeros(len(model.head.weight))
    end_V[model.tokenizer.eos_token_id] = 4.0
    return model, Mixture((Source(model, lambda hidden: model.head(hidden) + end_V),))


def test_texts_end_at_the_end_token_and_are_never_empty() -> None:
    model, mixture = eager_to_end()
    keys, end = np.arange(300, dtype=np.uint64), model.tokenizer.eos_token_id
    free = decode(model, mixture, [PROMPT], keys, Nucleus(p=1.0, max_new_tokens=12, stop_at_end=True)).ids_BT
    rows = free.tolist()
    lengths = [row.index(ENDED) if ENDED in row else len(row) for row in rows]
    assert min(lengths) == 1
    assert len(set(lengths)) > 5
    assert all(token == ENDED for row, length in zip(rows, lengths, strict=True) for token in row[length:])
    assert end not in free
    exact = decode(model, mixture, [PROMPT], keys, Nucleus(p=1.0, max_new_tokens=12)).ids_BT
    assert exact.shape == (300, 12)
    assert not {ENDED, end} & set(exact.flatten().tolist())


def test_a_greedy_text_ends_where_transformers_ends_it(model: LanguageModel) -> None:
    end_V = torch.zeros(len(model.head.weight))
    end_V[0] = 2.0  # the end token of these models
    mixture = Mixture((Source(model, lambda hidden: model.head(hidden) + end_V),))
    for prompt in (PROMPT, "people who learn to live", "A", "the storm at night"):
        ids = torch.tensor(model.tokenize([prompt]))
        barred = [*range(384, len(model.head.weight))]
        bias = {(0,): 2.0}
        options: dict[str, Any] = {"do_sample": False, "max_new_tokens": 30, "min_new_tokens": 1}
        theirs = model.lm.generate(ids, sequence_bias=bias, suppress_tokens=barred or None, **options)
        expected = theirs[0, ids.shape[1] :].tolist()
        rule = Greedy(max_new_tokens=30, stop_at_end=True)
        ours = decode(model, mixture, [prompt], np.zeros(1, np.uint64), rule).ids_BT[0].tolist()
        assert [token for token in ours if token != ENDED] == [token for token in expected if token != 0]


def test_the_likelihood_of_a_text_that_ended_is_that_of_its_written_tokens() -> None:
    model, mixture = eager_to_end()
    keys = np.arange(40, dtype=np.uint64)
    rule = Nucleus(p=1.0, max_new_tokens=9, stop_at_end=True)
    ids_BT, nll_B = decode(model, mixture, [PROMPT], keys, rule, likelihoods=True)
    assert nll_B is not None
    (prompt,) = model.tokenize([PROMPT])
    for row, nll in zip(ids_BT.tolist(), nll_B.tolist(), strict=True):
        written = [token for token in row if token != ENDED]
        log_p = (
            model.lm(input_ids=torch.tensor([prompt + written])).logits[0, :, : model.head.vocabulary].log_softmax(-1)
        )
        naive = -sum(float(log_p[len(prompt) + n - 1, token]) for n, token in enumerate(written))
        assert nll == pytest.approx(naive, rel=1e-4)


def test_generations_that_may_end_are_counted_by_their_written_tokens() -> None:
    model, mixture = eager_to_end()
    rule = Nucleus(p=1.0, max_new_tokens=12, stop_at_end=True)
    prompts = [Prompt(str(number), text) for number, text in enumerate((PROMPT, "I would", "people"))]
    generator = Generator(model, prompts, decoding=rule, samples=60, likelihoods=True)
    counts = set()
    for generation in generator.batch(mixture, [{}] * 3, range(3)):
        assert all(generation.texts)
        nll, tokens = continuation_nll(model, [generation.prompt.text] * 60, generation.texts)
        for likelihood, value, number in zip(generation.likelihoods, nll.tolist(), tokens.tolist(), strict=True):
            if likelihood is not None:
                counts.add(likelihood.tokens)
                assert (likelihood.nll, likelihood.tokens) == (pytest.approx(value, rel=1e-3), number)
    assert len(counts) > 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, r"decoding\.temperature=0\.0: a finite number above 0"),
        ({"temperature": float("inf")}, r"decoding\.temperature=inf"),
        ({"temperature": float("nan")}, r"decoding\.temperature=nan"),
        ({"top_k": -1}, r"decoding\.top_k=-1: an integer of 0 or more"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Nucleus(**options)
