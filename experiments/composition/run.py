"""Two steers at once, over a grid of strengths: what each attribute and the perplexity do.

python -m experiments.composition.run 'steer_files=[RUN/steer.safetensors,RUN/steer.safetensors]'
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from omegaconf import DictConfig
from pydantic import Field

from experiments.composition.figure import grid_figure
from experiments.composition.grid import Grid, study_steer
from experiments.composition.measure import measure, protocols_of
from experiments.composition.report import markdown
from lmsteer.cli.configuration import Words, build, entry_point, record, resolved
from lmsteer.evaluation.comparable import FinishedRun, read_run
from lmsteer.evaluation.prompt_values import write_values
from lmsteer.evaluation.results import write_result
from lmsteer.generation.plain_texts import PlainTexts
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import read_generations
from lmsteer.reporting.plots import to_png
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.scoring.cache import score_cache
from lmsteer.steering.composition import compose_files
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.storage.atomic_files import atomic_write_lines

KEYS = {
    *("stack", "run_dir", "seed", "device", "dtype", "model", "decoding", "protocol"),
    *("steer_files", "rank", "toxicity", "scores"),
}
KINDS = {"steer_files": Annotated[list[Words], Field(min_length=2, max_length=2)], "rank": int | None}
PICTURE, REPORT = "composition.png", "composition.md"


def composition(cfg: DictConfig) -> FinishedRun:
    """Generate and measure every cell in the run folder; write ``composition.md`` and ``composition.png``."""
    config = resolved(cfg, KEYS, KINDS)
    run, files = Run(Path(config["run_dir"]), record(config)), [Path(file) for file in config["steer_files"]]
    pair, provenance = compose_files(files, dummy="none", rank=config["rank"])
    steer, scores = study_steer(pair), score_cache(config["scores"])
    protocols = protocols_of(config)
    model: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    load_steer(files[0], model)  # refused where it is of another model
    grid = Grid(model, pair.dimensions, protocols[0], build(config["decoding"]))
    run.begin()
    if not run.is_complete(stages.STEER):
        save_steer(run.path(stages.STEER), steer, provenance)
    provenance = load_steer(run.path(stages.STEER))[1]
    plain = stages.plain_stage(run, grid.generators, PlainTexts(scores.folder / "plain" if scores else None))
    provenance = stages.calibrate_stage(run, grid, plain, steer, provenance)
    generations = stages.generate_stage(run, grid, plain, steer, provenance)
    if not run.is_complete(stages.METRICS):
        metadata = grid.metadata(provenance.seed, stages.settings_of(pair, provenance), config["decoding"])
        with run.timed("evaluate"):
            result, values = measure(read_generations(generations), protocols, grid.perplexity_model, metadata, scores)
        write_values(run.path(stages.VALUES), values)
        write_result(run.path(stages.METRICS), result)
    return report(run, pair.dimensions)


def report(run: Run, pair: Sequence[str]) -> FinishedRun:
    """Write table and picture of a measured run, and say where they are."""
    measured = read_run(run.folder)
    atomic_write_lines(run.path(REPORT), [markdown(measured)])
    picture = run.path(PICTURE).with_suffix(".tmp")
    picture.write_bytes(to_png(grid_figure(measured.result, pair)))
    picture.replace(run.path(PICTURE))
    print("\n".join(str(run.path(name)) for name in (REPORT, PICTURE)))
    return measured


if __name__ == "__main__":
    entry_point("composition")(composition)()
