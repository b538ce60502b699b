import doctest
import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch.multiprocessing.spawn import spawn

from lmsteer.metrics import classes, functional, intervals
from lmsteer.metrics.classes import (
    CorpusPerplexity,
    DistinctNgrams,
    ExceedanceProbability,
    ExpectedMaximumScore,
    MeanPerplexity,
    PromptMetric,
    ShareAbove,
)

PROMPTS = 60
GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.rand(PROMPTS, 3, generator=GENERATOR) ** 2
NATS = torch.rand(PROMPTS, 3, generator=GENERATOR) * 60
TOKENS = torch.randint(1, 21, (PROMPTS, 3), generator=GENERATOR)
RNG = random.Random(0)
TEXTS = [[" ".join(RNG.choices("abcdef", k=RNG.randint(1, 12))) for _ in range(3)] for _ in range(PROMPTS)]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def naive_distinct(samples: list[str]) -> float:
    pairs = {pair for text in samples for pair in zip(text.split(), text.split()[1:], strict=False)}
    return len(pairs) / sum(len(text.split()) for text in samples)


Case = tuple[Callable[[], PromptMetric], tuple[Any, ...], float]
"""What a metric is built by, what it is given, and its value by plain Python."""
CASES: list[Case] = [
    (ShareAbove, (SCORES,), mean([mean([float(s > 0.5) for s in row]) for row in SCORES.tolist()])),
    (ExpectedMaximumScore, (SCORES,), mean([max(row) for row in SCORES.tolist()])),
    (ExceedanceProbability, (SCORES,), mean([float(any(s > 0.5 for s in row)) for row in SCORES.tolist()])),
    (MeanPerplexity, (NATS, TOKENS), mean([
        mean([math.exp(nat / count) for nat, count in zip(nats, counts, strict=True)])
        for nats, counts in zip(NATS.tolist(), TOKENS.tolist(), strict=True)
    ])),
    (CorpusPerplexity, (NATS, TOKENS), math.exp(sum(map(sum, NATS.tolist())) / sum(map(sum, TOKENS.tolist())))),
    (lambda: DistinctNgrams(2), (TEXTS,), mean([naive_distinct(samples) for samples in TEXTS])),
]  # fmt: skip


@pytest.fixture(params=CASES, ids=["share", "maximum", "exceedance", "mean", "corpus", "distinct"])
def case(request: pytest.FixtureRequest) -> Case:
    return request.param  # type: ignore[no-any-return]


def fed(metric: PromptMetric, data: tuple[Any, ...], bounds: list[int]) -> PromptMetric:
    """The metric, updated with the rows between each two bounds."""
    for start, end in itertools.pairwise(bounds):
        metric.update(*(part[start:end] for part in data))
    return metric


def test_any_batching_gives_the_value_of_plain_python_and_the_same_interval(case: Case) -> None:
    build, data, expected = case
    whole = fed(build(), data, [0, PROMPTS]).interval()
    for bounds in ([0, PROMPTS], [0, 1, 7, 30, PROMPTS], list(range(PROMPTS + 1))):
        parts = fed(build(), data, bounds)
        assert parts.compute().item() == pytest.approx(expected, rel=1e-12)
        interval = parts.interval()
        assert [interval.low, interval.high] == pytest.approx([whole.low, whole.high], rel=1e-12)


def test_merged_states_equal_one_metric(case: Case) -> None:
    build, data, expected = case
    # merge_state puts what comes in first.
    second, first = fed(build(), data, [25, 40, PROMPTS]), fed(build(), data, [0, 25])
    second.merge_state(first)
    whole = fed(build(), data, [0, PROMPTS])
    torch.testing.assert_close(second.per_prompt(), whole.per_prompt(), rtol=1e-12, atol=0)
    assert second.compute().item() == pytest.approx(expected, rel=1e-12)


def test_the_interval_holds_the_computed_value_between_its_ends_and_counts_prompts(case: Case) -> None:
    build, data, _ = case
    metric = fed(build(), data, [0, PROMPTS])
    interval = metric.interval()
    assert interval.low < interval.value < interval.high  # type: ignore[operator]
    assert (interval.value, interval.n) == (metric.compute().item(), PROMPTS)


def test_level_resamples_and_seed_reach_the_bootstrap(case: Case) -> None:
    build, data, _ = case
    metric = fed(build(), data, [0, PROMPTS])
    wide, narrow = metric.interval(level=0.99), metric.interval(level=0.5)
    assert wide.low < narrow.low  # type: ignore[operator]
    assert metric.interval(seed=1, resamples=99) == metric.interval(seed=1, resamples=99)
    assert metric.interval(seed=1, resamples=99) != metric.interval(seed=1, resamples=9)
    assert metric.interval(seed=1, resamples=99) != metric.interval(seed=2, resamples=99)


def test_one_prompt_has_no_interval_and_none_no_value(case: Case) -> None:
    build, data, _ = case
    interval = fed(build(), data, [0, 1]).interval()
    assert (interval.low, interval.high, interval.n) == (None, None, 1)
    with pytest.raises(ValueError, match="has seen no prompt"):
        build().interval()


def test_reset_forgets_the_prompts(case: Case) -> None:
    build, data, expected = case
    metric = fed(build(), data, [0, 10])
    metric.reset()
    assert fed(metric, data, [0, PROMPTS]).compute().item() == pytest.approx(expected, rel=1e-12)


def test_a_refused_update_leaves_the_metric_as_it_was() -> None:
    metric = fed(ExpectedMaximumScore(), (SCORES,), [0, 10])
    before = metric.per_prompt()
    with pytest.raises(ValueError, match=r"scores: 1\.5 at prompt 0, sample 1"):
        metric.update(torch.tensor([[0.5, 1.5]]))
    assert torch.equal(metric.per_prompt(), before)


def test_an_ngram_of_no_words_is_refused() -> None:
    with pytest.raises(ValueError, match="n is 0"):
        DistinctNgrams(0)


def test_prompts_may_have_different_numbers_of_samples_in_different_updates() -> None:
    metric = ShareAbove()
    metric.update(torch.tensor([[1.0]]))
    metric.update(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    assert metric.compute().item() == 0.625  # a mean over prompts, not over the five samples


def measure(rank: int, folder: Path) -> None:
    """One of two processes: the first has 20 prompts, the second the other 40."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    bounds = [[0, 20], [20, 45, PROMPTS]][rank]
    results = [fed(build(), data, bounds) for build, data, _ in CASES]
    torch.save([[m.compute().item(), m.interval().low, m.interval().n] for m in results], folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_value_and_interval_of_one(tmp_path: Path) -> None:
    spawn(measure, args=(tmp_path,), nprocs=2)
    whole = [fed(build(), data, [0, PROMPTS]) for build, data, _ in CASES]
    for rank in range(2):
        for measured, metric in zip(torch.load(tmp_path / f"{rank}.pt", weights_only=True), whole, strict=True):
            expected = [metric.compute().item(), metric.interval().low, PROMPTS]
            assert measured == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("module", [classes, functional, intervals])
def test_no_example_in_a_docstring_fails(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_every_metric_has_an_example() -> None:
    shown = {case.name.rpartition(".")[2] for case in doctest.DocTestFinder().find(classes) if case.examples}
    assert shown == {metric.__name__ for metric in PromptMetric.__subclasses__()}


def test_a_limited_mean_is_over_the_prompts_that_have_a_value() -> None:
    metric = MeanPerplexity(limit=1e4)
    metric.update(torch.tensor([[0.0, 12.0], [11.0, 12.0], [0.0, 0.0]]), torch.ones(3, 2))
    assert metric.compute() == pytest.approx(1.0)
    interval = metric.interval()
    assert (interval.low, interval.high) == (pytest.approx(1.0), pytest.approx(1.0))
