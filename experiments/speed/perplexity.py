"""Scoring: a pass for each prompt and each text, and ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tqdm.auto import tqdm

from experiments.speed.bench import Bench
from experiments.speed.plain import continuation_nats
from lmsteer.records import Generation
from lmsteer.scoring.perplexity import continuation_nll

FAMILY, TEXTS = "plain prompt with its texts", "texts"
Pair = tuple[str, str]


def pairs_of(generations: Sequence[Generation], count: int) -> list[Pair]:
    """The first prompts with each of their continuations."""
    return [(generation.prompt.text, text) for generation in generations for text in generation.texts][:count]


def measure_perplexity(bench: Bench, pairs: Sequence[Pair]) -> float:
    """Time both sides in turns; return by how much of the plain figure their nats differ on the texts both scored."""
    work, meter = bench.work, bench.meter
    meter.memory_and_warm_up({FAMILY: partial(score_plain, bench, pairs[:1]), TEXTS: partial(score, bench, pairs)})
    plain: list[float] = []
    scored: list[int] = []
    starts = range(0, len(pairs), work.samples)
    for repeat in range(work.repeats):
        for start in tqdm(work.some(starts, work.plain_prompts, seed=repeat), desc="plain perplexity", unit="prompt"):
            family = range(start, start + work.samples)
            plain += meter.time(FAMILY, score_plain, bench, [pairs[index] for index in family])
            scored += family
        ours = meter.time(TEXTS, score, bench, pairs)
    return abs(sum(ours[index] for index in scored) - sum(plain)) / sum(plain)


def score_plain(bench: Bench, pairs: Sequence[Pair]) -> list[float]:
    """Nats of the continuations of one prompt, the plain way."""
    return continuation_nats(bench.plain, pairs[0][0], [continuation for _, continuation in pairs])


def score(bench: Bench, pairs: Sequence[Pair]) -> list[float]:
    """Nats of each continuation, ours."""
    prompts, continuations = zip(*pairs, strict=True)
    nats: list[float] = continuation_nll(bench.ours, prompts, continuations)[0].tolist()
    return nats
