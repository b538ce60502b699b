"""Texts that others wrote, scored as a finished run was, so that they stand beside it in a table."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lmsteer.cli.configuration import build, record
from lmsteer.commands.evaluate import metadata_of
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import FinishedRun
from lmsteer.evaluation.protocol import Protocol
from lmsteer.records import Generation, read_generations
from lmsteer.runs import stages
from lmsteer.runs.run import CONFIG, Run
from lmsteer.scoring.cache import ScoreCache
from lmsteer.storage.atomic_files import atomic_write_lines

NEEDED = ("protocol", "model", "device", "dtype")


def rescore(run: FinishedRun, name: str, file: Path, folder: Path, *, scores: ScoreCache | None = None) -> Path:
    """Score a file of generations by the protocol of a run; the folder of the result, which is itself a finished run.

    Args:
        name: The method of its rows without a strength.
        folder: What was scored there before, by the same protocol, is not scored again.
        scores: Where the scores of texts are kept; None: nowhere.

    Raises:
        InputError: If the run cannot be scored again, or the file is not of its prompts.
    """
    generations = _of_sets(read_generations(file), run, file)
    config = _config(run.folder)
    identity = {"rescored": hashlib.sha256(file.read_bytes()).hexdigest(), "method": name, **config}
    protocol: Protocol = build(config["protocol"])
    model = build(config["model"], device=config["device"], dtype=config["dtype"])
    try:
        target = Run(folder, record(identity))
        target.begin()
    except InputError:
        raise InputError(f"{folder}: no place for {file} as scored for {run.folder}; choose another --out") from None
    path = target.path(stages.GENERATIONS)
    atomic_write_lines(path, (generation.to_json() for generation in generations))
    metadata = metadata_of(file, {"writer": None, "method": name})
    stages.evaluate_stage(target, path, protocol, lambda: protocol.perplexity_model_for(model), metadata, scores=scores)
    return folder


def _config(folder: Path) -> dict[str, Any]:
    """What of a run's configuration decides how it was scored."""
    path = folder / CONFIG
    try:
        found = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path}: it cannot be read; the configuration of a run is expected") from error
    if not isinstance(found, dict) or any(not found.get(key) for key in NEEDED):
        raise InputError(f"{path}: it lacks one of {', '.join(NEEDED)}; the configuration of a run is expected")
    return {key: found[key] for key in NEEDED}


def _of_sets(generations: Sequence[Generation], run: FinishedRun, file: Path) -> list[Generation]:
    """The generations under the names that the run gives to their prompt sets, each of which must be whole."""
    sets = {row.prompts: values.prompts for row, values in zip(run.result.rows, run.values, strict=True)}
    homes = {text: name for name, texts in sets.items() for text in texts}
    renamed = _known(generations, homes)
    if not renamed:
        sizes = ", ".join(f"{name} {len(texts)}" for name, texts in sets.items())
        raise InputError(f"{file}: none of its prompts is among those of {run.folder} ({sizes})")
    if left := len(generations) - len(renamed):
        print(f"{file}: {left} of {len(generations)} prompts left out, which {run.folder} has not or not twice")
    groups: dict[tuple[Any, ...], list[str]] = {}
    for own in renamed:
        groups.setdefault((own.prompts, own.budget, *sorted(own.strength.items())), []).append(own.prompt.text)
    for (name, *_), texts in groups.items():
        if sorted(texts) != sorted(sets[name]):
            raise InputError(
                f"{file}: {len(texts)} prompts of {name}, {len(set(texts))} of them different; "
                f"the {len(sets[name])} of {run.folder}, each once, are expected"
            )
    return renamed


def _known(generations: Sequence[Generation], homes: Mapping[str, str]) -> list[Generation]:
    """Those of known prompts under the names of their sets; of a prompt that comes twice, as in the published sets, the
    first."""
    kept: dict[tuple[Any, ...], Generation] = {}
    for own in generations:
        if own.prompt.text in homes:
            key = (own.prompt.text, own.budget, *sorted(own.strength.items()))
            kept.setdefault(key, replace(own, prompts=homes[own.prompt.text]))
    return list(kept.values())
