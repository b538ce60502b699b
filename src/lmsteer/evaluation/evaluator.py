"""From generations to metrics: group by strength, score, perplexity_model, and put an interval to every value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import DECIDING, UNKNOWN
from lmsteer.evaluation.prompt_values import PromptValues
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Result, ResultRow, Value
from lmsteer.metrics.classes import (
    CorpusPerplexity,
    DistinctNgrams,
    ExceedanceProbability,
    ExpectedMaximumScore,
    MeanPerplexity,
    PromptMetric,
    ShareAbove,
)
from lmsteer.metrics.intervals import Interval
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Generation
from lmsteer.scoring.cache import ScoreCache
from lmsteer.scoring.perplexity import continuation_nll
from lmsteer.scoring.scorer import Scorer

Group = list[Generation]
Measured = dict[str, tuple[PromptMetric, str | None]]
"""Metrics of one row by name, each with its scorer."""

MUST_AGREE = ("prompts", *DECIDING, *UNKNOWN)
"""What two results must have in common to stand in one table; what is not known (null) is not compared."""


@dataclass(frozen=True, kw_only=True)
class GenerationMetadata:
    """Who wrote the generations, and how.

    Attributes:
        model: Name of the language model.
        seed: Seed of the training, if known.
        plain: Method named in rows without a strength.
        settings: Those of the training, less the seed.
        decoding: How the next token was chosen; None where it is not known.
        batch_size: Sequences decoded at once; None where it is not known.
        noise_seed: Seed of the sampling noise; None where it is not known.
        dtype: Precision of the model.
        duplicates: Prompts that were left out since they came twice, by prompt set.
    """

    model: str
    seed: int | None = None
    plain: str = "plain"
    settings: dict[str, Any] = field(default_factory=dict)
    decoding: Any = None
    batch_size: int | None = None
    noise_seed: int | None = None
    dtype: str | None = None
    duplicates: dict[str, int] = field(default_factory=dict)


def evaluate(
    generations: Sequence[Generation],
    protocol: Protocol,
    perplexity_model: LanguageModel,
    metadata: GenerationMetadata,
    *,
    scores: ScoreCache | None = None,
) -> tuple[Result, list[PromptValues]]:
    """Measure every strength in ``generations``; ``perplexity_model`` is the model whose perplexity is reported.

    Args:
        scores: Where scores are kept for later calls; None: nowhere.

    Returns:
        The result, and for each of its rows the values of single prompts.

    Raises:
        InputError: If a text cannot be scored, or prompts of one strength have different numbers of samples.
    """
    groups = _grouped(generations)
    measured: list[Measured] = [{} for _ in groups]
    for number, scorer in enumerate(protocol.scorers.values()):
        suffix = f"@{scorer.name}" if number else ""
        for metrics, values in zip(measured, _scores(scorer, protocol.metric, groups, scores), strict=True):
            metrics.update(_attribute(protocol.metric, values, scorer.name, suffix))
    limit, rows = protocol.legacy_perplexity_limit, list[ResultRow]()
    for metrics, group, (nats, tokens) in zip(
        measured, groups, generation_nll(perplexity_model, groups, scores), strict=True
    ):
        try:
            metrics.update(_fluency(group, nats, tokens, perplexity_model.name, limit))
            rows.append(_row(group, metrics, metadata))
        except ValueError as error:
            raise InputError(f"generations at strength {group[0].strength or 'plain'}: {error}") from error
    single = [
        PromptValues(
            tuple(generation.prompt.text for generation in group),
            {name: metric.per_prompt() for name, (metric, _) in metrics.items()},
        )
        for group, metrics in zip(groups, measured, strict=True)
    ]
    return Result(protocol=_described(groups, protocol, perplexity_model, metadata), rows=rows), single


def _row(group: Group, metrics: Measured, metadata: GenerationMetadata) -> ResultRow:
    first = group[0]
    return ResultRow(
        model=metadata.model,
        method="lm-steer" if first.strength else metadata.plain,
        seed=metadata.seed,
        prompts=first.prompts,
        strength=first.strength,
        budget=first.budget,
        settings=metadata.settings if first.strength else {},
        metrics={name: _value(metric.interval(), scorer) for name, (metric, scorer) in metrics.items()},
    )


def _described(
    groups: Sequence[Group], protocol: Protocol, perplexity_model: LanguageModel, metadata: GenerationMetadata
) -> dict[str, Any]:
    """What the figures were made with, and a digest of what must agree for two results to stand in one table."""
    sets = {group[0].prompts: group for group in groups}
    described = {
        "name": protocol.name,
        "metric": protocol.metric,
        "prompts": {name: {"n": len(group), "digest": _prompts_digest(group)} for name, group in sets.items()},
        "duplicates_left_out": metadata.duplicates,
        "n_prompts": sum(map(len, sets.values())),
        "samples": len(groups[0][0].texts),
        "decoding": metadata.decoding,
        "batch_size": metadata.batch_size,
        "noise_seed": metadata.noise_seed,
        "dtype": metadata.dtype,
        "scorers": {scorer.name: scorer.revision for scorer in protocol.scorers.values()},
        "perplexity_model": perplexity_model.name,
        "perplexity_model_revision": perplexity_model.fingerprint()[:12],
        "perplexity_model_is_unsteered": protocol.perplexity_model is None and perplexity_model.name == metadata.model,
        "perplexity_limit": protocol.legacy_perplexity_limit,
    }
    agreed = json.dumps({key: described[key] for key in MUST_AGREE}, sort_keys=True)
    return described | {"digest": hashlib.sha256(agreed.encode()).hexdigest()[:12]}


def _prompts_digest(group: Group) -> str:
    """Of the texts, whatever their order."""
    texts = sorted(generation.prompt.text for generation in group)
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]


def _grouped(generations: Sequence[Generation]) -> list[Group]:
    """Generations by prompt set, budget and strength, in order of first appearance.

    The groups of a prompt set must have the same prompts: where a file was cut, the last one lacks some.
    """
    groups: dict[tuple[Any, ...], Group] = {}
    for generation in generations:
        key = (generation.prompts, generation.budget, *sorted(generation.strength.items()))
        groups.setdefault(key, []).append(generation)
    sizes = {len(generation.texts) for generation in generations}
    if len(sizes) > 1:
        raise InputError(
            f"generations: prompts have {min(sizes)} to {max(sizes)} samples; the same number for each is expected"
        )
    first: dict[str, Group] = {}
    for group in groups.values():
        other = first.setdefault(group[0].prompts, group)
        if sorted(g.prompt.text for g in group) != sorted(g.prompt.text for g in other):
            raise InputError(
                f"generations at strength {group[0].strength or 'plain'}: {len(group)} prompts, not the {len(other)} "
                f"that {other[0].strength or 'plain'} has; is the file whole?"
            )
    return list(groups.values())


def _split(values: Tensor, groups: Sequence[Group]) -> list[Tensor]:
    """Flat values of all groups as one tensor (prompts, samples) a group."""
    sizes = [len(group) * len(group[0].texts) for group in groups]
    parts = values.split(sizes)
    return [part.reshape(len(group), -1) for part, group in zip(parts, groups, strict=True)]


def _scores(scorer: Scorer, metric: str, groups: Sequence[Group], store: ScoreCache | None) -> list[Tensor]:
    """Toxicity is that of the continuation; any other attribute that of prompt and continuation."""
    prefixed = metric != "toxicity"
    texts = [g.prompt.text * prefixed + text for group in groups for g in group for text in g.texts]
    return _split(store.scores(scorer, texts) if store else scorer(texts), groups)


def generation_nll(
    perplexity_model: LanguageModel, groups: Sequence[Group], store: ScoreCache | None
) -> list[tuple[Tensor, Tensor]]:
    """Nats and tokens a group; what the generations tell about this very perplexity_model is not measured again."""
    every = [(g, index) for group in groups for g in group for index in range(len(g.texts))]
    name = perplexity_model.fingerprint() if any(g.perplexity_model for g, _ in every) else ""
    told = [g.likelihoods[index] if g.perplexity_model == name and g.likelihoods else None for g, index in every]
    missing = [(g.prompt.text, g.texts[index]) for (g, index), known in zip(every, told, strict=True) if known is None]
    measure = store.nats if store else continuation_nll
    found = measure(perplexity_model, [prompt for prompt, _ in missing], [text for _, text in missing])
    known = torch.tensor([likelihood is not None for likelihood in told])
    nats = torch.tensor([likelihood.nll if likelihood else 0.0 for likelihood in told])
    tokens = torch.tensor([likelihood.tokens if likelihood else 0 for likelihood in told])
    nats[~known], tokens[~known] = found
    return list(zip(_split(nats, groups), _split(tokens, groups), strict=True))


def _attribute(metric: str, scores: Tensor, scorer: str, suffix: str) -> Measured:
    kinds: dict[str, PromptMetric] = (
        {"expected_maximum_toxicity": ExpectedMaximumScore(), "toxicity_probability": ExceedanceProbability()}
        if metric == "toxicity"
        else {metric: ShareAbove()}
    )
    for kind in kinds.values():
        kind.update(scores)
    return {name + suffix: (kind, scorer) for name, kind in kinds.items()}


def _fluency(group: Group, nats: Tensor, tokens: Tensor, perplexity_model: str, limit: float | None) -> Measured:
    if limit is not None and not ((nats / tokens).exp() < limit).any():
        raise ValueError(f"no sample's perplexity is below protocol.legacy_perplexity_limit={limit}")
    measured: Measured = {
        "perplexity": (MeanPerplexity(limit), perplexity_model),
        "perplexity_corpus": (CorpusPerplexity(), perplexity_model),
    }
    for metric, _ in measured.values():
        metric.update(nats, tokens)
    for n in (1, 2, 3):
        distinct = DistinctNgrams(n)
        distinct.update([generation.texts for generation in group])
        measured[f"dist_{n}"] = (distinct, None)
    return measured


def _value(interval: Interval, scorer: str | None) -> Value:
    return Value(value=interval.value, low=interval.low, high=interval.high, n=interval.n, scorer=scorer)
