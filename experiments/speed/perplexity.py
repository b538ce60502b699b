"""Scoring: two passes for each text, and ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tqdm.auto import tqdm

from experiments.speed.bench import Bench
from experiments.speed.plain import continuation_nats
from lmsteer.records import Generation
from lmsteer.scoring.perplexity import conditional_nats

TEXT, TEXTS = "plain text", "texts"
Pair = tuple[str, str]


def pairs_of(generations: Sequence[Generation], count: int) -> list[Pair]:
    """The first prompts with each of their continuations."""
    return [(generation.prompt.text, text) for generation in generations for text in generation.texts][:count]


def measure_perplexity(bench: Bench, pairs: Sequence[Pair]) -> float:
    """Time both sides in turns; return by how much of the plain figure their nats differ on the texts both scored."""
    work, meter = bench.work, bench.meter
    meter.memory_and_warm_up(
        {TEXT: partial(continuation_nats, bench.plain, *pairs[0]), TEXTS: partial(score, bench, pairs)}
    )
    plain: list[float] = []
    scored: list[int] = []
    for repeat in range(work.repeats):
        chosen = work.some(range(len(pairs)), work.plain_texts, seed=repeat)
        for index in tqdm(chosen, desc="plain perplexity", unit="text"):
            plain.append(meter.time(TEXT, continuation_nats, bench.plain, *pairs[index]))
        ours = meter.time(TEXTS, score, bench, pairs)
        scored += chosen
    return abs(sum(ours[index] for index in scored) - sum(plain)) / sum(plain)


def score(bench: Bench, pairs: Sequence[Pair]) -> list[float]:
    """Nats of each continuation, ours."""
    prompts, continuations = zip(*pairs, strict=True)
    nats: list[float] = conditional_nats(bench.ours, prompts, continuations)[0].tolist()
    return nats
