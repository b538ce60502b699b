"""Transferred steers beside one that was fitted on the model itself, at equal cost, in both directions.

python -m experiments.transfer.run 'steers={states: RUN/steer.safetensors, direct: RUN/steer.safetensors}'
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig
from pydantic import Field

from experiments.transfer.budgets import AtBudgets
from experiments.transfer.effects import effects
from experiments.transfer.figure import effects_figure
from experiments.transfer.report import markdown
from lmsteer.cli.configuration import Words, build, entry_point, record, resolved
from lmsteer.evaluation.comparable import FinishedRun, read_run
from lmsteer.evaluation.protocol import Protocol
from lmsteer.generation.plain_texts import PlainTexts
from lmsteer.models.language_model import LanguageModel
from lmsteer.reporting.plots import to_png
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.scoring.cache import score_cache
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.storage.atomic_files import atomic_write_lines

KEYS = {
    *("stack", "run_dir", "seed", "device", "dtype", "model", "decoding", "protocol"),
    *("steers", "direct", "scores"),
}
KINDS: dict[str, Any] = {"steers": Annotated[dict[Words, Words], Field(min_length=1)], "direct": Words}
FIGURES, PICTURE, REPORT = "transfer.json", "transfer.png", "transfer.md"


def transfer_study(cfg: DictConfig) -> dict[str, Any]:
    """Measure every steer in a folder of its own; write ``transfer.json``, ``transfer.md`` and ``transfer.png``."""
    config = resolved(cfg, KEYS, KINDS)
    run, files = Run(Path(config["run_dir"]), record(config)), config["steers"]
    model: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    for file in files.values():
        load_steer(Path(file), model)  # refused where it is of another model
    run.begin()
    runs = {
        name: measured(Run(run.path(name), f"steer: {name}\n"), Path(file), model, config)
        for name, file in files.items()
    }
    found = effects(runs, config["direct"])
    atomic_write_lines(run.path(FIGURES), [json.dumps(found, indent=1, ensure_ascii=False)])
    atomic_write_lines(run.path(REPORT), [markdown(found)])
    picture = run.path(PICTURE).with_suffix(".tmp")
    picture.write_bytes(to_png(effects_figure(found)))
    picture.replace(run.path(PICTURE))
    print("\n".join(str(run.path(name)) for name in (FIGURES, PICTURE, REPORT)))
    return found


def measured(run: Run, file: Path, model: LanguageModel, config: dict[str, Any]) -> FinishedRun:
    """Calibrate, generate and evaluate with one steer."""
    run.begin()
    if not run.is_complete(stages.STEER):
        save_steer(run.path(stages.STEER), *load_steer(file, model))
    steer, provenance = load_steer(run.path(stages.STEER), model)
    protocol: Protocol = build(config["protocol"])
    plan, scores = (
        AtBudgets(model, steer.dimensions, protocol, build(config["decoding"])),
        score_cache(config["scores"]),
    )
    plain = stages.plain_stage(run, plan.generators, PlainTexts(scores.folder / "plain" if scores else None))
    provenance = stages.calibrate_stage(run, plan, plain, steer, provenance)
    generations = stages.generate_stage(run, plan, plain, steer, provenance)
    metadata = plan.metadata(provenance.seed, stages.settings_of(steer, provenance), config["decoding"])
    stages.evaluate_stage(run, generations, protocol, lambda: plan.perplexity_model, metadata, scores=scores)
    return read_run(run.folder)


if __name__ == "__main__":
    entry_point("transfer_study")(transfer_study)()
