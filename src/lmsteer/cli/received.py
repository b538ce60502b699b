"""Configurations that came with a run folder: data from somebody else, of which little may be built."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lmsteer import old_files
from lmsteer.errors import InputError

ALLOWED = {
    f"lmsteer.{target}"
    for target in (
        *("data.prompts.openwebtext.owt_sentiment_prompts", "data.prompts.prompt_sets.corpus_prefixes"),
        *(f"data.prompts.prompt_sets.{name}" for name in ("prompts", "real_toxicity_prompts", "snippet_prefixes")),
        *("data.prompts.prompt_sets.toxic_leaning", "data.sources.jigsaw.jigsaw"),
        *(
            "data.sources.hub_data_set.hub_data_set",
            "data.sources.labeled_file.labeled_file",
            "data.sources.snippets.snippets",
        ),
        *("data.sources.snippets.toxic_snippets", "data.sources.sst.sst2", "data.sources.sst.sst5"),
        *("behaviours.language.in_language", "behaviours.letter_case.letter_case"),
        *("behaviours.sentences.sentence_count", "behaviours.word_count.word_count"),
        "evaluation.protocol.Protocol",
        *(f"models.load.{name}" for name in ("gemma_3_270m", "load_model", "smollm2")),
        *("models.random_models.tiny", "models.random_models.gpt2_shaped"),
        *("scoring.alt_profanity_check.ProfanityScorer", "scoring.detoxify_scorer.DetoxifyScorer"),
        "scoring.behaviour_scorer.BehaviourScorer",
        *("scoring.hub_classifier.HubClassifierScorer", "scoring.replay.ReplayScorer"),
        *("scoring.sentence_embedding.EmbeddingScorer", "scoring.tfidf.TfidfScorer"),
        "scoring.word_list.WordListScorer",
    )
}
"""Classes and functions of this library that a received configuration may name."""
LARGEST, MOST_BRACKETS = 2**18, 1000
"""Bytes and opening brackets of a configuration; scanning nested ones takes time in the square of their number."""
CHECKPOINT = "checkpoint"
"""Option whose value is a file that may hold a pickle."""


def read_received_config(path: Path) -> dict[str, Any]:
    """Read the configuration of a run as plain values, with interpolations left as they are written.

    Raises:
        InputError: If it cannot be read, or is not what a run writes.
    """
    try:
        data = path.read_bytes()
        if len(data) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        text = data.decode("utf-8")
        if text.count("[") + text.count("{") > MOST_BRACKETS:
            raise ValueError(f"more than {MOST_BRACKETS} brackets")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("aliases, which no run writes")
        config = yaml.safe_load(old_files.config(text))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: it cannot be read ({reason}); the configuration of a run is expected") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: the configuration of a run is expected")
    return {str(key): value for key, value in config.items()}


def check_received(node: Any, path: Path) -> None:
    """Refuse a node of a received configuration that could run code, read a pickle or read the environment.

    Raises:
        InputError: Naming the entry.
    """
    for where, key, value in _entries(node):
        if key == "_target_" and str(value) not in ALLOWED:
            raise InputError(f"{path}: {where}={value}: not built from a run folder, which may be somebody else's")
        if str(key).startswith("_") and key not in ("_target_", "_partial_"):
            raise InputError(f"{path}: {where}: not read from a run folder, which may be somebody else's")
        if key == CHECKPOINT and value is not None:
            raise InputError(f"{path}: {where}={value}: it may hold a pickle, which is not read for a run folder")
        if isinstance(value, str) and "${" in value:
            raise InputError(f"{path}: {where}={value}: no interpolation is resolved in a run folder")


def _entries(node: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        name = f"{where}.{key}" if where else str(key)
        yield name, key, value
        yield from _entries(value, name)
