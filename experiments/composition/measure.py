"""Two attributes of the same generations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lmsteer.cli.configuration import build
from lmsteer.errors import InputError
from lmsteer.evaluation.evaluator import GenerationMetadata, evaluate
from lmsteer.evaluation.prompt_values import PromptValues
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Result
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Generation
from lmsteer.scoring.cache import ScoreCache


def protocols_of(config: dict[str, Any]) -> list[Protocol]:
    """The protocol as it is configured, and the same for toxicity with the scorers of that."""
    nodes = config["toxicity"]
    if not isinstance(nodes, dict) or not nodes or not all(isinstance(node, dict) for node in nodes.values()):
        raise InputError(f"toxicity={nodes!r}: choices in conf/scorer expected, as scorer@toxicity=[NAME,…]")
    first: Protocol = build(config["protocol"])
    return [first, replace(first, metric="toxicity", scorers={name: build(node) for name, node in nodes.items()})]


def measure(
    generations: Sequence[Generation],
    protocols: Sequence[Protocol],
    perplexity_model: LanguageModel,
    metadata: GenerationMetadata,
    scores: ScoreCache | None,
) -> tuple[Result, list[PromptValues]]:
    """Measure the same generations by several protocols; their metrics stand side by side in every row."""
    first, *others = (
        evaluate(generations, protocol, perplexity_model, metadata, scores=scores) for protocol in protocols
    )
    (result, values), rows = first, list(first[0].rows)
    protocol = dict(result.protocol)
    for other, own in others:
        pairs = zip(rows, other.rows, strict=True)
        rows = [row.model_copy(update={"metrics": row.metrics | more.metrics}) for row, more in pairs]
        values = [PromptValues(a.prompts, a.values | b.values) for a, b in zip(values, own, strict=True)]
        for name in ("metric", "digest"):
            protocol[name] = f"{protocol[name]} {other.protocol[name]}"
        protocol["scorers"] = {**protocol["scorers"], **other.protocol["scorers"]}  # type: ignore[dict-item]
    return Result(protocol=protocol, rows=rows), values
