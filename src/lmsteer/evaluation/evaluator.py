"""Evaluate generations: score them, measure perplexity and diversity, and compute an interval for every value."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import COMPARED
from lmsteer.evaluation.cost import Setting, setting_of
from lmsteer.evaluation.metric_names import METRICS, attribute_metrics
from lmsteer.evaluation.prompt_values import PromptValues
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Cost, Result, ResultRow, Unreached, Value
from lmsteer.metrics.classes import PromptMetric
from lmsteer.metrics.intervals import Interval
from lmsteer.records import Generation
from lmsteer.scoring.cache import ScoreCache
from lmsteer.scoring.perplexity import PerplexityModel, continuation_nll
from lmsteer.scoring.scorer import Scorer

Group = list[Generation]
RowMetrics = dict[str, tuple[PromptMetric, str | None]]
"""Metrics of one row by name, each with its scorer."""


@dataclass(frozen=True, kw_only=True)
class GenerationMetadata:
    """The origin of generations: model, training and decoding.

    Attributes:
        model: Name of the language model.
        seed: Seed of the training. None: the method has none, or it is unknown.
        plain: Method of rows without a strength.
        method: Method of rows with a strength.
        settings: Settings of the training, without the seed.
        decoding: Configuration of the decoding. None: unknown.
        batch_size: Sequences decoded together. None: unknown.
        noise_seed: Seed of the sampling noise. None: unknown.
        dtype: Data type of the model.
        duplicates: Number of repeated prompts left out, by prompt set.
        costs: Cost of each setting with a strength, as far as it was measured.
        unreached: Budgets that have no row.
    """

    model: str
    seed: int | None = None
    plain: str = "plain"
    method: str = "lm-steer"
    settings: dict[str, Any] = field(default_factory=dict)
    decoding: Any = None
    batch_size: int | None = None
    noise_seed: int | None = None
    dtype: str | None = None
    duplicates: dict[str, int] = field(default_factory=dict)
    costs: Mapping[Setting, Cost] = field(default_factory=dict)
    unreached: Sequence[Unreached] = ()


def evaluate(
    generations: Sequence[Generation],
    protocol: Protocol,
    perplexity_model: PerplexityModel,
    metadata: GenerationMetadata,
    *,
    scores: ScoreCache | None = None,
) -> tuple[Result, list[PromptValues]]:
    """Measure the generations at each strength.

    Args:
        perplexity_model: Model that computes the perplexity.
        scores: Cache of scores. None: do not store scores.

    Returns:
        The result, and the values for each prompt of each of its rows.

    Raises:
        InputError: If a text cannot be scored, or prompts of one strength have different numbers of samples.
    """
    groups = _group(generations)
    row_metrics: list[RowMetrics] = [{} for _ in groups]
    for number, scorer in enumerate(protocol.scorers.values()):
        suffix = f"@{scorer.name}" if number else ""
        for metrics, values in zip(row_metrics, _scores(scorer, protocol.metric, groups, scores), strict=True):
            metrics.update(_attribute(protocol.metric, values, scorer.name, suffix))
    limit, rows = protocol.legacy_perplexity_limit, list[ResultRow]()
    for metrics, group, (nll, tokens) in zip(
        row_metrics, groups, generation_nll(perplexity_model, groups, scores), strict=True
    ):
        try:
            metrics.update(_fluency(group, nll, tokens, perplexity_model.name, limit))
            rows.append(_row(group, metrics, metadata))
        except ValueError as error:
            raise InputError(f"generations at strength {group[0].strength or 'plain'}: {error}") from error
    values_of_prompts = [
        PromptValues(
            tuple(generation.prompt.text for generation in group),
            {name: metric.per_prompt().cpu().numpy() for name, (metric, _) in metrics.items()},
        )
        for group, metrics in zip(groups, row_metrics, strict=True)
    ]
    description = _describe_protocol(groups, protocol, perplexity_model, metadata)
    result = Result(protocol=description, rows=rows, unreached=list(metadata.unreached))
    return result, values_of_prompts


def _row(group: Group, metrics: RowMetrics, metadata: GenerationMetadata) -> ResultRow:
    first = group[0]
    return ResultRow(
        model=metadata.model,
        method=metadata.method if first.strength else metadata.plain,
        seed=metadata.seed,
        prompts=first.prompts,
        strength=first.strength,
        budget=first.budget,
        settings=metadata.settings if first.strength else {},
        cost=metadata.costs.get(setting_of(first)),
        metrics={name: _value(metric.interval(), scorer) for name, (metric, scorer) in metrics.items()},
    )


def _describe_protocol(
    groups: Sequence[Group], protocol: Protocol, perplexity_model: PerplexityModel, metadata: GenerationMetadata
) -> dict[str, Any]:
    """Describe how the result was measured, with a digest of the entries that must agree in one table."""
    sets = {group[0].prompts: group for group in groups}
    description = {
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
    if protocol.mode != "fair":
        description["mode"] = protocol.mode
    compared = json.dumps({key: description[key] for key in COMPARED if key in description}, sort_keys=True)
    return description | {"digest": hashlib.sha256(compared.encode()).hexdigest()[:12]}


def _prompts_digest(group: Group) -> str:
    """Return a digest of the prompts' texts, independent of their order; of questions also what was said before."""
    texts = sorted(generation.prompt.text for generation in group)
    texts += [json.dumps(turns) for turns in sorted(g.prompt.turns for g in group if g.prompt.turns)]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]


def _group(generations: Sequence[Generation]) -> list[Group]:
    """Group generations by prompt set, budget and strength, in order of first appearance.

    All groups of a prompt set must have the same prompts; the last group of a truncated file lacks some.
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
        reference = first.setdefault(group[0].prompts, group)
        if sorted(g.prompt.text for g in group) != sorted(g.prompt.text for g in reference):
            raise InputError(
                f"generations at strength {group[0].strength or 'plain'}: {len(group)} prompts, not the "
                f"{len(reference)} that {reference[0].strength or 'plain'} has; is the file truncated?"
            )
    return list(groups.values())


def _split(values: Tensor, groups: Sequence[Group]) -> list[Tensor]:
    """Split flat values of all groups into a tensor (prompts, samples) for each group."""
    sizes = [len(group) * len(group[0].texts) for group in groups]
    return [v.reshape(len(group), -1) for v, group in zip(values.split(sizes), groups, strict=True)]


def _scores(scorer: Scorer, metric: str, groups: Sequence[Group], store: ScoreCache | None) -> list[Tensor]:
    """Score continuations, with their prompts if the attribute's metrics are declared so; answers stand alone."""
    with_prompt = all(facts.scores_prompt for facts in attribute_metrics(metric))
    prompted = ((g.prompt.text if with_prompt and not g.prompt.turns else "", g) for group in groups for g in group)
    texts = [prompt + text for prompt, g in prompted for text in g.texts]
    return _split(store.scores(scorer, texts) if store else scorer(texts), groups)


def generation_nll(
    perplexity_model: PerplexityModel, groups: Sequence[Group], store: ScoreCache | None
) -> list[tuple[Tensor, Tensor]]:
    """Return nll (nats) and number of tokens, each (prompts, samples), of every group.

    Likelihoods that the generations hold from this perplexity model are not computed again.
    """
    samples = [(g, index) for group in groups for g in group for index in range(len(g.texts))]
    name = perplexity_model.fingerprint() if any(g.perplexity_model for g, _ in samples) else ""
    stored = [g.likelihoods[index] if g.perplexity_model == name and g.likelihoods else None for g, index in samples]
    missing = [g for g, likelihood in zip(samples, stored, strict=True) if likelihood is None]
    measure = store.continuation_nll if store else continuation_nll
    is_stored = torch.tensor([likelihood is not None for likelihood in stored])
    nll = torch.tensor([likelihood.nll if likelihood else 0.0 for likelihood in stored])
    tokens = torch.tensor([likelihood.tokens if likelihood else 0 for likelihood in stored])
    nll[~is_stored], tokens[~is_stored] = measure(
        perplexity_model, [g.prompt.content for g, _ in missing], [g.texts[index] for g, index in missing]
    )
    return list(zip(_split(nll, groups), _split(tokens, groups), strict=True))


def _attribute(metric: str, scores: Tensor, scorer: str, suffix: str) -> RowMetrics:
    metrics = {facts.name + suffix: facts.build() for facts in attribute_metrics(metric)}
    for accumulator in metrics.values():
        accumulator.update(scores)
    return {name: (accumulator, scorer) for name, accumulator in metrics.items()}


def _fluency(group: Group, nll: Tensor, tokens: Tensor, perplexity_model: str, limit: float | None) -> RowMetrics:
    if limit is not None and not ((nll / tokens).exp() < limit).any():
        raise ValueError(f"no sample's perplexity is below protocol.legacy_perplexity_limit={limit}")
    metrics: RowMetrics = {}
    for facts in METRICS.values():
        if facts.group == "attribute":
            continue
        accumulator = facts.build(limit=limit) if facts.takes_limit else facts.build()
        if facts.group == "fluency":
            accumulator.update(nll, tokens)
        else:
            accumulator.update([generation.texts for generation in group])
        metrics[facts.name] = accumulator, perplexity_model if facts.group == "fluency" else None
    return metrics


def _value(interval: Interval, scorer: str | None) -> Value:
    return Value(value=interval.value, low=interval.low, high=interval.high, n=interval.n, scorer=scorer)
