"""The stages of a run. Each is skipped when its file is there, and goes on where an interrupted one stopped.

All up to the generations are done by all processes of the run together; what is read of them is the first one's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from lmsteer.data.corpus import Corpus
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.evaluation.calibration import calibrations, with_calibrations
from lmsteer.evaluation.evaluator import GenerationMetadata, evaluate
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.prompt_values import write_values
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Result, read_result, write_result
from lmsteer.generation.generation_files import expected_generations, read_generation_file
from lmsteer.generation.generator import Generator
from lmsteer.generation.plain_texts import PlainTexts
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Generation, read_generations
from lmsteer.reporting.result_table import result_text
from lmsteer.reporting.run_report import report
from lmsteer.runs.run import Run
from lmsteer.scoring.cache import ScoreCache
from lmsteer.steering.steer import DUMMY, Steer
from lmsteer.steering.steer_file import Provenance, load_steer, save_steer
from lmsteer.storage.atomic_files import atomic_write_lines
from lmsteer.training.fit import FitConfig, SteerConfig, fit

STEER, GENERATIONS, METRICS, REPORT = "steer.safetensors", "generations.jsonl", "metrics.json", "report.html"
VALUES = "values.safetensors"
UNTOLD = ("curve", "rows", "unused_options", "solver_result")
"""Entries of a steer's training that do not tell rows of a table apart."""


def fit_stage(
    run: Run,
    model: LanguageModel,
    corpus: Corpus,
    steer_config: SteerConfig,
    fit_config: FitConfig,
    *,
    seed: int,
    store: FeatureStoreConfig,
    logger: Logger | None,
) -> tuple[Steer, Provenance]:
    """Fit the steer and save it; its checkpoints are deleted when it is saved."""
    checkpoints = run.path("checkpoints")
    if not run.is_complete(STEER):
        with run.timed("fit"):
            steer, provenance = fit(
                model,
                corpus,
                steer_config,
                fit_config,
                seed=seed,
                folder=checkpoints,
                logger=logger,
                store=store,
                process_group=run.process_group,
            )
        if run.process_group.is_rank_zero:
            save_steer(run.path(STEER), steer, provenance)
        run.process_group.barrier()
    if run.process_group.is_rank_zero:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return load_steer(run.path(STEER), model)


def plain_stage(run: Run, generators: Mapping[str, Generator], kept: PlainTexts) -> dict[str, Path]:
    """Write what the plain model makes of each prompt set, or take it where it is kept; the paths, by key.

    They go into the generations of the run, and are deleted then.
    """
    paths = {key: run.path(f"plain.{number}.jsonl") for number, key in enumerate(generators)}
    if not run.is_complete(GENERATIONS):
        with run.timed("plain"):
            for key, path in paths.items():
                if not run.is_complete(path.name):
                    kept.write(generators[key], path, run.process_group)
                run.process_group.barrier()
                read_generation_file(
                    path, expected_generations(generators[key].prompts, [({}, "")]), samples=generators[key].samples
                )
    return paths


def calibrate_stage(run: Run, plan: Plan, plain: dict[str, Path], steer: Steer, provenance: Provenance) -> Provenance:
    """Find the strengths that reach the protocol's budgets and put them into the steer file."""
    expected_generations = len(plan.protocol.budgets()) * len(plan.protocol.directions())
    if run.is_complete(GENERATIONS) or len(plan.calibrated(provenance.calibration)) == expected_generations:
        return provenance
    with run.timed("calibrate"):
        provenance = with_calibrations(provenance, calibrations(plan, texts_of(plain), steer, run.process_group))
    if run.process_group.is_rank_zero:
        save_steer(run.path(STEER), steer, provenance)
    return provenance


def texts_of(paths: dict[str, Path]) -> list[Generation]:
    """The generations of several files."""
    return [generation for path in paths.values() for generation in read_generations(path)]


def generate_stage(run: Run, plan: Plan, plain: dict[str, Path], steer: Steer, provenance: Provenance) -> Path:
    """Write the generations of every prompt set: the plain model's, then those at each strength; return their path."""
    path, parts = run.path(GENERATIONS), [run.path(f"steered.{number}.jsonl") for number in range(len(plan.sets))]
    both = [part for pair in zip(plain.values(), parts, strict=True) for part in pair]
    if not run.is_complete(GENERATIONS):
        with run.timed("generate"):
            for part, (key, generator) in zip(parts, plan.generators.items(), strict=True):
                settings = plan.settings(key, provenance.calibration)
                if settings and not run.is_complete(part.name):
                    strengths, budgets = [own for own, _ in settings], [name for _, name in settings]
                    generator.write(part, strengths, steer, budgets, run.process_group)
                if settings:
                    read_generation_file(
                        part, expected_generations(generator.prompts, settings), samples=generator.samples
                    )
        if run.process_group.is_rank_zero:
            there = [part for part in both if part.is_file()]
            atomic_write_lines(path, (generation.to_json() for part in there for generation in read_generations(part)))
        run.process_group.barrier()  # the others may still be reading the parts
    if run.process_group.is_rank_zero:
        read_generation_file(path, plan.expected_generations(provenance.calibration), samples=plan.protocol.samples)
        for part in both:
            part.unlink(missing_ok=True)
    return path


def evaluate_stage(
    run: Run,
    generations: Path,
    protocol: Protocol,
    perplexity_model: Callable[[], LanguageModel],
    metadata: GenerationMetadata,
    *,
    scores: ScoreCache | None = None,
) -> Result:
    """Score the generations; write the metrics and the values of single prompts behind them."""
    if not run.is_complete(METRICS):
        with run.timed("evaluate"):
            result, values = evaluate(
                read_generations(generations), protocol, perplexity_model(), metadata, scores=scores
            )
        write_values(run.path(VALUES), values)
        write_result(run.path(METRICS), result)
    return read_result(run.path(METRICS))


def settings_of(steer: Steer, provenance: Provenance) -> dict[str, Any]:
    """How a steer was trained, less the seed: what tells the rows of a table apart."""
    # Options of the solver that was not used count as equal, but for the steps, of which there were none.
    training = {name: value for name, value in provenance.training.get("unused_options", {}).items() if name != "steps"}
    training |= {name: value for name, value in provenance.training.items() if name not in UNTOLD}
    corpus = {"corpus": provenance.corpus.get("name"), "texts": str(provenance.corpus.get("source", ""))[:12]}
    corpus["train_rows"] = provenance.corpus.get("train_rows")
    return {"rank": steer.rank, "epsilon": steer.epsilon, "dummy": DUMMY in steer.dimensions, **training, **corpus}


def report_stage(run: Run, generations: Path, result: Result, provenance: Provenance | None) -> None:
    """Write the report page, print the table, say where everything is."""
    if not run.is_complete(REPORT):
        title = f"LM-Steer: {result.protocol['name']} on {result.rows[0].model}"
        curve = provenance.training.get("curve") if provenance else None
        page = report(result, read_generations(generations), curve=curve, title=title, facts=_facts(provenance))
        atomic_write_lines(run.path(REPORT), page.rstrip("\n").split("\n"))
    _show(run, result)


def show_finished(run: Run, *, table: bool) -> Result | None:
    """Say that all of a run was done before, with its table if that is asked for; its result, if it has one."""
    print(f"finished already: {run.folder}", flush=True)
    if not run.is_complete(METRICS):
        return None
    result = read_result(run.path(METRICS))
    if table:
        _show(run, result)
    return result


def _show(run: Run, result: Result) -> None:
    print(f"\n{result_text(result)}\n\nreport: {run.path(REPORT)}")


def _facts(provenance: Provenance | None) -> dict[str, str]:
    """What the report says about the steer."""
    if provenance is None:
        return {}
    training = {
        name: value
        for name, value in provenance.training.items()
        if name not in ("curve", "unused_options", "solver_result")
    }
    training |= _spectrum(provenance.training["solver_result"]) if "solver_result" in provenance.training else {}
    calibration = {
        f"{entry['budget']}, {'+' if entry['direction'] > 0 else '-'}": (
            "out of reach" if entry["strength"] is None else f"{entry['strength']:+g}"
        )
        for entry in provenance.calibration
    }
    fields = asdict(provenance) | {"training": training, "calibration": calibration}
    return {f"steer: {name}": _words(value) for name, value in fields.items() if value not in ({}, "")}


def _spectrum(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a one-pass solver found, in a few numbers."""
    null = {name: found["null"][name] for name in ("above", "threshold") if name in found["null"]}
    largest = {"largest": found["spectrum"][0]} if found["rank"] else {}
    return {"directions": found["rank"], **largest, **null, "unit": found["unit"]}


def _words(value: object) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
