"""Score texts that others wrote as a finished run was scored, so that both can be in one table."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmsteer.cli.configuration import build
from lmsteer.cli.identity import run_identity
from lmsteer.cli.received import check_received, read_received_config
from lmsteer.commands.evaluate import metadata_of
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import FinishedRun
from lmsteer.evaluation.protocol import Protocol
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Generation, read_generations
from lmsteer.runs import stages
from lmsteer.runs.run import CONFIG, Run
from lmsteer.scoring.cache import ScoreCache
from lmsteer.storage.atomic_files import atomic_write_lines

logger = logging.getLogger(__name__)
SCORING_OPTIONS = ("protocol", "model", "device", "dtype")
"""Options of a run that decide how it was scored."""


def rescore(run: FinishedRun, name: str, file: Path, folder: Path, *, scores: ScoreCache | None = None) -> Path:
    """Score a file of generations by the protocol of a run and return the folder of the result, itself a finished run.

    Args:
        name: The method of its rows without a strength.
        folder: Where the result goes; what was scored there before, by the same protocol, is not scored again.
        scores: Cache of the scores of texts; None: do not keep them.

    Raises:
        InputError: If the run cannot be scored again, or the file is not of its prompts.
    """
    generations = _with_sets_of(run, read_generations(file), file)
    config = _scoring_config(run.folder)
    identity = {"rescored": hashlib.sha256(file.read_bytes()).hexdigest(), "method": name, **config}
    protocol: Protocol = build(config["protocol"])
    perplexity_model = _perplexity_model(protocol, config)
    try:
        target = Run(folder, run_identity(identity))
        target.begin()
    except InputError:
        raise InputError(
            f"{folder}: no place for {file} as scored for {run.folder}; choose another hydra.run.dir"
        ) from None
    path = target.path(stages.GENERATIONS)
    atomic_write_lines(path, (generation.to_json() for generation in generations))
    metadata = metadata_of(file, {"writer": None, "row": name})
    stages.evaluate_stage(target, path, protocol, lambda: perplexity_model, metadata, scores=scores, received=True)
    return folder


def _perplexity_model(protocol: Protocol, config: Mapping[str, Any]) -> LanguageModel:
    """Load the perplexity model of a protocol, which is that of the run if it names none."""
    if protocol.perplexity_model is not None:
        return protocol.perplexity_model()
    model: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    return model


def _scoring_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    config = read_received_config(path)
    if any(not config.get(key) for key in SCORING_OPTIONS):
        expected = "the configuration of a run is expected"
        raise InputError(f"{path}: it lacks one of {', '.join(SCORING_OPTIONS)}; {expected}")
    scoring = {key: config[key] for key in SCORING_OPTIONS}
    check_received(scoring, path)
    return scoring


def _with_sets_of(run: FinishedRun, generations: Sequence[Generation], file: Path) -> list[Generation]:
    """Return the generations of a run's prompts under the names of its prompt sets, each of which must be complete."""
    sets = {row.prompts: values.prompts for row, values in zip(run.result.rows, run.values, strict=True)}
    matching = _matching(generations, {text: name for name, texts in sets.items() for text in texts})
    if not matching:
        sizes = ", ".join(f"{name} {len(texts)}" for name, texts in sets.items())
        raise InputError(f"{file}: none of its prompts is among those of {run.folder} ({sizes})")
    if dropped := len(generations) - len(matching):
        reason = f"they are not prompts of {run.folder}, or repeated"
        logger.warning("%s: %d of %d prompts left out: %s", file, dropped, len(generations), reason)
    prompts: dict[tuple[Any, ...], list[str]] = {}
    for generation in matching:
        key = (generation.prompts, generation.budget, *sorted(generation.strength.items()))
        prompts.setdefault(key, []).append(generation.prompt.text)
    for (name, *_), texts in prompts.items():
        if sorted(texts) != sorted(sets[name]):
            raise InputError(
                f"{file}: {len(texts)} prompts of {name}, {len(set(texts))} of them different; "
                f"the {len(sets[name])} of {run.folder}, each once, are expected"
            )
    return matching


def _matching(generations: Sequence[Generation], set_of: Mapping[str, str]) -> list[Generation]:
    """Return the generations of known prompts under the names of their sets; of repeated prompts the first."""
    matching: dict[tuple[Any, ...], Generation] = {}
    for generation in generations:
        text = generation.prompt.text
        if text in set_of:
            key = (text, generation.budget, *sorted(generation.strength.items()))
            matching.setdefault(key, replace(generation, prompts=set_of[text]))
    return list(matching.values())
