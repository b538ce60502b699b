"""Files that version 1 wrote: their old names, and what these are called now.

Every reader of steer files, generations, metrics and configurations passes what it read through one of these functions,
so that no other module knows an old name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WITH_BIAS = 2
"""Format of a steer file with biases; format 1 has none."""
TENSORS = {"first": "p1", "second": "p2", "constant": "bias"}
TRAINING = {"found": "solver_result", "unused": "unused_options"}
CALIBRATION = {"always": "fixed_strengths", "judge": "perplexity_model"}
GENERATION = {"judge": "perplexity_model"}
SAMPLE = {"nats": "nll"}
PROTOCOL = {
    "judge": "perplexity_model",
    "judge_revision": "perplexity_model_revision",
    "judge_is_the_unsteered_model": "perplexity_model_is_unsteered",
}


def renamed(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a record with its old keys renamed, in its order; others stay."""
    return {names.get(key, key): value for key, value in record.items()}


def steer(metadata: Mapping[str, Any], tensors: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return metadata and tensors of a steer file of format 1 or 2 under their present names."""
    training = renamed(metadata.get("training", {}), TRAINING)
    calibration = [renamed(entry, CALIBRATION) for entry in metadata.get("calibration", [])]
    known = {"training": training, "calibration": calibration, "bias": metadata["format"] == WITH_BIAS}
    return {**metadata, **known}, renamed(tensors, TENSORS)


def generation(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of ``generations.jsonl`` under its present names; one of this version stays as it is."""
    line = renamed(line, GENERATION)
    samples = line.get("generations")
    if isinstance(samples, list):
        line["generations"] = [renamed(one, SAMPLE) if isinstance(one, dict) else one for one in samples]
    return line


def protocol(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the protocol of a ``metrics.json`` under its present names."""
    return renamed(record, PROTOCOL)
