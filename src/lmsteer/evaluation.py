"""From generations to metrics: group by strength, score, judge, and put an interval to every value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.metrics.classes import (
    CorpusPerplexity,
    DistinctNgrams,
    ExceedanceProbability,
    ExpectedMaximumScore,
    MeanPerplexity,
    ShareAbove,
)
from lmsteer.metrics.intervals import Interval
from lmsteer.protocol import Protocol
from lmsteer.records import Generation
from lmsteer.reporting.result import Result, ResultRow, Value
from lmsteer.scoring.perplexity import conditional_nats
from lmsteer.scoring.scorer import Scorer
from lmsteer.scoring.store import ScoreStore
from lmsteer.steering.model import LanguageModel

Group = list[Generation]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Who wrote the generations.

    Attributes:
        model: Name of the language model.
        seed: Seed of the run, if known.
        plain: Method named in rows without a strength.
        decoding: How the next token was chosen.
        dtype: Precision of the model.
    """

    model: str
    seed: int | None = None
    plain: str = "plain"
    decoding: Any = None
    dtype: str | None = None


def evaluate(
    generations: Sequence[Generation],
    protocol: Protocol,
    judge: LanguageModel,
    labels: Labels,
    *,
    scores: ScoreStore | None = None,
) -> Result:
    """Measure every strength in ``generations``; ``judge`` is the model whose perplexity is reported.

    Args:
        scores: Where scores are kept for later calls; None: nowhere.

    Raises:
        InputError: If a text cannot be scored, or prompts of one strength have different numbers of samples.
    """
    groups = _grouped(generations)
    columns: list[dict[str, Value]] = [{} for _ in groups]
    for number, scorer in enumerate(protocol.scorers):
        suffix = f"@{scorer.name}" if number else ""
        for column, values in zip(columns, _scores(scorer, protocol.metric, groups, scores), strict=True):
            column.update(_attribute_values(protocol.metric, values, scorer.name, suffix))
    for column, group, (nats, tokens) in zip(columns, groups, _nats(judge, groups, scores), strict=True):
        try:
            column.update(_fluency_values(group, nats, tokens, judge.name))
        except ValueError as error:
            raise InputError(f"generations at strength {group[0].strength or 'plain'}: {error}") from error
    rows = [
        ResultRow(
            model=labels.model,
            method="lm-steer" if group[0].strength else labels.plain,
            seed=labels.seed,
            prompts=group[0].prompts,
            strength=group[0].strength,
            metrics=column,
        )
        for group, column in zip(groups, columns, strict=True)
    ]
    return Result(protocol=_described(groups[0], protocol, judge, labels), rows=rows)


def _described(group: Group, protocol: Protocol, judge: LanguageModel, labels: Labels) -> dict[str, Any]:
    """What must agree for two results to stand in one table."""
    itself = protocol.judge is None and judge.name == labels.model
    return {
        "name": protocol.name,
        "metric": protocol.metric,
        "prompts": group[0].prompts,
        "n_prompts": len(group),
        "samples": len(group[0].texts),
        "decoding": labels.decoding,
        "dtype": labels.dtype,
        "scorers": {scorer.name: scorer.revision for scorer in protocol.scorers},
        "judge": judge.name,
        "judge_is_the_unsteered_model": itself,
    }


def _grouped(generations: Sequence[Generation]) -> list[Group]:
    """Generations by prompt set and strength, in order of first appearance."""
    groups: dict[tuple[Any, ...], Group] = {}
    for generation in generations:
        groups.setdefault((generation.prompts, *sorted(generation.strength.items())), []).append(generation)
    for group in groups.values():
        sizes = {len(generation.texts) for generation in group}
        if len(sizes) > 1:
            raise InputError(
                f"generations at strength {group[0].strength or 'plain'}: prompts have {min(sizes)} to {max(sizes)} "
                "samples; the same number for each is expected"
            )
    return list(groups.values())


def _split(values: Tensor, groups: Sequence[Group]) -> list[Tensor]:
    """Flat values of all groups as one tensor (prompts, samples) a group."""
    sizes = [len(group) * len(group[0].texts) for group in groups]
    parts = values.split(sizes)
    return [part.reshape(len(group), -1) for part, group in zip(parts, groups, strict=True)]


def _scores(scorer: Scorer, metric: str, groups: Sequence[Group], store: ScoreStore | None) -> list[Tensor]:
    """Toxicity is that of the continuation; any other attribute that of prompt and continuation."""
    prefixed = metric != "toxicity"
    texts = [g.prompt.text * prefixed + text for group in groups for g in group for text in g.texts]
    return _split(store.scores(scorer, texts) if store else scorer(texts), groups)


def _nats(judge: LanguageModel, groups: Sequence[Group], store: ScoreStore | None) -> list[tuple[Tensor, Tensor]]:
    """Nats and tokens a group; what the generations tell about this very judge is not measured again."""
    every = [(g, index) for group in groups for g in group for index in range(len(g.texts))]
    name = judge.fingerprint() if any(g.judge for g, _ in every) else ""
    told = [g.likelihoods[index] if g.judge == name and g.likelihoods else None for g, index in every]
    missing = [(g.prompt.text, g.texts[index]) for (g, index), known in zip(every, told, strict=True) if known is None]
    measure = store.nats if store else conditional_nats
    found = measure(judge, [prompt for prompt, _ in missing], [text for _, text in missing])
    known = torch.tensor([likelihood is not None for likelihood in told])
    nats = torch.tensor([likelihood.nats if likelihood else 0.0 for likelihood in told])
    tokens = torch.tensor([likelihood.tokens if likelihood else 0 for likelihood in told])
    nats[~known], tokens[~known] = found
    return list(zip(_split(nats, groups), _split(tokens, groups), strict=True))


def _attribute_values(metric: str, scores: Tensor, scorer: str, suffix: str) -> dict[str, Value]:
    if metric != "toxicity":
        share = ShareAbove()
        share.update(scores)
        return {metric + suffix: _value(share.interval(), scorer)}
    worst, exceeding = ExpectedMaximumScore(), ExceedanceProbability()
    worst.update(scores)
    exceeding.update(scores)
    return {
        "expected_maximum_toxicity" + suffix: _value(worst.interval(), scorer),
        "toxicity_probability" + suffix: _value(exceeding.interval(), scorer),
    }


def _fluency_values(group: Group, nats: Tensor, tokens: Tensor, judge: str) -> dict[str, Value]:
    mean, corpus = MeanPerplexity(), CorpusPerplexity()
    mean.update(nats, tokens)
    corpus.update(nats, tokens)
    values = {
        "perplexity": _value(mean.interval(), judge),
        "perplexity_corpus": _value(corpus.interval(), judge),
    }
    for n in (1, 2, 3):
        distinct = DistinctNgrams(n)
        distinct.update([generation.texts for generation in group])
        values[f"dist_{n}"] = _value(distinct.interval(), None)
    return values


def _value(interval: Interval, scorer: str | None) -> Value:
    return Value(value=interval.value, low=interval.low, high=interval.high, n=interval.n, scorer=scorer)
