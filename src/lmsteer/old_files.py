"""Present names of what files of version 1 contain.

Every reader of steer files, generations, metrics and configurations passes what it read through one of these functions,
so that no other module knows an old name.
"""

import re
from collections.abc import Mapping
from typing import Any

OLD_FORMATS = (1, 2)
"""Formats of steer files before the present one."""
WITH_BIAS = 2
"""Format of a steer file with biases; format 1 has none."""
TENSORS = {"first": "p1", "second": "p2", "constant": "bias"}
TRAINING = {"found": "solver_result", "unused": "unused_options"}
SOLVERS = {"paper": "gradient"}
CALIBRATION = {"always": "fixed_strengths", "judge": "perplexity_model"}
GENERATION = {"judge": "perplexity_model"}
SAMPLE = {"nats": "nll"}
INTERPRETATION = {"kept": "cumulative_auc", "alike": "as_constant"}
PROTOCOL = {
    "judge": "perplexity_model",
    "judge_revision": "perplexity_model_revision",
    "judge_is_the_unsteered_model": "perplexity_model_is_unsteered",
}


def renamed(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a record with its old keys renamed, in its order; others stay."""
    return {names.get(key, key): value for key, value in record.items()}


def steer(metadata: Mapping[str, Any], tensors: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return metadata and tensors of a steer file under their present names; entries of a wrong kind stay."""
    known: dict[str, Any] = {"bias": metadata["format"] == WITH_BIAS} if metadata["format"] in OLD_FORMATS else {}
    training, calibration = metadata.get("training"), metadata.get("calibration")
    if isinstance(training, dict):
        known["training"] = settings(renamed(training, TRAINING))
    if isinstance(calibration, list):
        known["calibration"] = [renamed(one, CALIBRATION) if isinstance(one, dict) else one for one in calibration]
    return {**metadata, **known}, renamed(tensors, TENSORS)


def settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a fit with the present name of its solver."""
    solver = record.get("solver")
    return {**record, "solver": SOLVERS[solver]} if isinstance(solver, str) and solver in SOLVERS else dict(record)


def generation(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of ``generations.jsonl`` under its present names; one of this version stays as it is."""
    line = renamed(line, GENERATION)
    samples = line.get("generations")
    if isinstance(samples, list):
        line["generations"] = [renamed(one, SAMPLE) if isinstance(one, dict) else one for one in samples]
    return line


def interpretation(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return an ``interpretation.json`` under its present names; one of this version stays as it is."""
    directions = [renamed(direction, INTERPRETATION) for direction in record.get("directions", [])]
    return {**renamed(record, INTERPRETATION), "directions": directions}


def protocol(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the protocol of a ``metrics.json`` under its present names."""
    return renamed(record, PROTOCOL)


TARGETS = {
    "lmsteer.data.file.file": "lmsteer.data.sources.labeled_file.labeled_file",
    "lmsteer.data.jigsaw.jigsaw": "lmsteer.data.sources.jigsaw.jigsaw",
    "lmsteer.data.owt.owt_sentiment_prompts": "lmsteer.data.prompts.openwebtext.owt_sentiment_prompts",
    "lmsteer.data.prompts.corpus_prefixes": "lmsteer.data.prompts.prompt_sets.corpus_prefixes",
    "lmsteer.data.prompts.prompts": "lmsteer.data.prompts.prompt_sets.prompts",
    "lmsteer.data.prompts.real_toxicity_prompts": "lmsteer.data.prompts.prompt_sets.real_toxicity_prompts",
    "lmsteer.data.prompts.snippet_prefixes": "lmsteer.data.prompts.prompt_sets.snippet_prefixes",
    "lmsteer.data.prompts.toxic_leaning": "lmsteer.data.prompts.prompt_sets.toxic_leaning",
    "lmsteer.data.sources.labelled_file.file": "lmsteer.data.sources.labeled_file.labeled_file",
    "lmsteer.data.sources.labelled_file.labelled_file": "lmsteer.data.sources.labeled_file.labeled_file",
    "lmsteer.data.snippets.snippets": "lmsteer.data.sources.snippets.snippets",
    "lmsteer.data.snippets.toxic_snippets": "lmsteer.data.sources.snippets.toxic_snippets",
    "lmsteer.data.sst.sst2": "lmsteer.data.sources.sst.sst2",
    "lmsteer.data.sst.sst5": "lmsteer.data.sources.sst.sst5",
    "lmsteer.models.gemma_3_270m": "lmsteer.models.load.gemma_3_270m",
    "lmsteer.models.gpt2_shaped": "lmsteer.models.random_models.gpt2_shaped",
    "lmsteer.models.load_model": "lmsteer.models.load.load_model",
    "lmsteer.models.smollm2": "lmsteer.models.load.smollm2",
    "lmsteer.models.tiny": "lmsteer.models.random_models.tiny",
    "lmsteer.protocol.Protocol": "lmsteer.evaluation.protocol.Protocol",
    "lmsteer.scoring.embedding.EmbeddingScorer": "lmsteer.scoring.sentence_embedding.EmbeddingScorer",
    "lmsteer.scoring.profanity.ProfanityScorer": "lmsteer.scoring.alt_profanity_check.ProfanityScorer",
    "lmsteer.scoring.toxicity_classifier.DetoxifyScorer": "lmsteer.scoring.detoxify_scorer.DetoxifyScorer",
    "lmsteer.scoring.wordlist.WordListScorer": "lmsteer.scoring.word_list.WordListScorer",
}
"""Classes and functions that a ``config.yaml`` names as ``_target_``."""
CONFIG_KEYS = {"judge": "perplexity_model"}


def config(text: str) -> str:
    """Return the text of a ``config.yaml`` with its targets and options under their present names."""

    def renamed_target(match: re.Match[str]) -> str:
        return match[1] + TARGETS.get(match[2], match[2])

    def renamed_key(match: re.Match[str]) -> str:
        return match[1] + CONFIG_KEYS.get(match[2], match[2]) + ":"

    text = re.sub(r"(_target_: )([\w.]+)", renamed_target, text)
    return re.sub(r"^(\s*)(\w+):", renamed_key, text, flags=re.MULTILINE)
