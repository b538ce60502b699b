"""Run the stages of a run; each is skipped if its file exists and resumes if it was interrupted.

All processes of the run fit, calibrate and generate together; rank zero evaluates and reports.
"""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.evaluation.calibration import calibrate, with_calibrations
from lmsteer.evaluation.cost import Setting, measure_costs
from lmsteer.evaluation.evaluator import GenerationMetadata, evaluate
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.prompt_values import write_values
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Cost, Result, read_result, write_result
from lmsteer.evaluation.run_files import digest_of
from lmsteer.generation.generation_files import expected_generations, read_generation_file
from lmsteer.generation.generator import Generator
from lmsteer.generation.plain_texts import PlainTexts
from lmsteer.methods.fit_cache import FitCache
from lmsteer.methods.method import Method
from lmsteer.methods.method_file import load_controller, save_controller
from lmsteer.models.mixture import Controller
from lmsteer.records import Generation, read_generations
from lmsteer.reporting.result_table import result_text
from lmsteer.reporting.run_report import report
from lmsteer.runs.run import Run
from lmsteer.scoring.cache import ScoreCache
from lmsteer.scoring.perplexity import PerplexityModel
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.storage.atomic_files import atomic_write_lines
from lmsteer.training.fit import Solver

logger = logging.getLogger(__name__)
STEER, GENERATIONS, METRICS, REPORT = "steer.safetensors", "generations.jsonl", "metrics.json", "report.html"
VALUES = "values.safetensors"
TITLES = {"lm-steer": "LM-Steer", "lora": "LoRA", "dexperts": "DExperts"}
"""Names of methods at the head of a page, where they are not their words."""


def fit_stage(
    run: Run,
    method: Method,
    datamodule: SteerDataModule,
    steer_config: SteerConfig,
    solver: Solver,
    loggers: Sequence[Logger] = (),
    cache: FitCache | None = None,
) -> tuple[Controller, Provenance]:
    """Fit the method and write its file, then delete its checkpoints; what is in the cache counts with its seconds."""
    cache, checkpoints, path = cache or FitCache(), run.path("checkpoints"), run.path(method.file_name)
    if not run.is_complete(method.file_name):
        with run.timed("fit") as further_seconds:
            controller, provenance = method.fit(
                datamodule, steer_config, solver, folder=checkpoints, loggers=loggers, cache=cache
            )
            further_seconds.append(cache.saved_seconds)
        if run.process_group.is_rank_zero:
            save_controller(path, controller, provenance)
        run.process_group.barrier()
    if run.process_group.is_rank_zero:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return load_controller(path, datamodule.extract.model)


def plain_stage(run: Run, generators: Mapping[str, Generator], plain_texts: PlainTexts) -> dict[str, Path]:
    """Generate the plain model's texts, or read them from the cache; return a path by key of the prompt set.

    ``generate_stage`` copies these files into the generations of the run and deletes them.
    """
    paths = {key: run.path(f"plain.{number}.jsonl") for number, key in enumerate(generators)}
    if not run.is_complete(GENERATIONS):
        with run.timed("plain"):
            for key, path in paths.items():
                if not run.is_complete(path.name):
                    plain_texts.write(generators[key], path, run.process_group)
                run.process_group.barrier()
                read_generation_file(
                    path, expected_generations(generators[key].prompts, [({}, "")]), samples=generators[key].samples
                )
    return paths


def calibrate_stage(
    run: Run, plan: Plan, plain: dict[str, Path], path: Path, fitted: tuple[Controller, Provenance]
) -> Provenance:
    """Find the strengths that reach the protocol's budgets and write them to ``path``, the file of the method."""
    controller, provenance = fitted
    n_strengths = len(plan.protocol.budgets()) * len(plan.protocol.directions())
    if run.is_complete(GENERATIONS) or len(plan.calibrated(provenance.calibration)) == n_strengths:
        return provenance
    with run.timed("calibrate"):
        provenance = with_calibrations(provenance, calibrate(plan, read_texts(plain), controller, run.process_group))
    if run.process_group.is_rank_zero:
        save_controller(path, controller, provenance)
    return provenance


def read_texts(paths: dict[str, Path]) -> list[Generation]:
    """Read the generations of several files."""
    return [generation for path in paths.values() for generation in read_generations(path)]


def generate_stage(
    run: Run, plan: Plan, plain: dict[str, Path], controller: Controller, provenance: Provenance
) -> Path:
    """Write the generations of every prompt set, the plain model's before those at each strength; return the path."""
    path, steered = run.path(GENERATIONS), [run.path(f"steered.{number}.jsonl") for number in range(len(plan.sets))]
    files = [file for pair in zip(plain.values(), steered, strict=True) for file in pair]
    if not run.is_complete(GENERATIONS):
        with run.timed("generate"):
            for file, (key, generator) in zip(steered, plan.measured_generators.items(), strict=True):
                settings = plan.settings(key, provenance.calibration)
                if settings and not run.is_complete(file.name):
                    generator.write(file, settings, controller, run.process_group)
                if settings:
                    read_generation_file(
                        file, expected_generations(generator.prompts, settings), samples=generator.samples
                    )
        if run.process_group.is_rank_zero:
            measured = {(g.prompts_name, p.id) for g in plan.measured_generators.values() for p in g.prompts}
            existing = [generation for file in files if file.is_file() for generation in read_generations(file)]
            atomic_write_lines(path, (g.to_json() for g in existing if (g.prompts, g.prompt.id) in measured))
        run.process_group.barrier()  # other processes may still be reading the files
    if run.process_group.is_rank_zero:
        read_generation_file(path, plan.expected_generations(provenance.calibration), samples=plan.protocol.samples)
        for file in files:
            file.unlink(missing_ok=True)
    return path


def cost_stage(
    run: Run, plan: Plan, generations: Path, controller: Controller, provenance: Provenance
) -> dict[Setting, Cost]:
    """Measure the costs of the rows, unless their metrics are there already."""
    if run.is_complete(METRICS):
        return {}
    with run.timed("cost"):
        return measure_costs(plan.model, controller, provenance, read_generations(generations), plan.decoding)


def evaluate_stage(
    run: Run,
    generations: Path,
    protocol: Protocol,
    perplexity_model: Callable[[], PerplexityModel],
    metadata: GenerationMetadata,
    *,
    scores: ScoreCache | None = None,
    received: bool = False,
    method_file: Path | None = None,
) -> Result:
    """Score the generations; write the metrics and their values for each prompt.

    Args:
        received: The file may be somebody else's: likelihoods in it are not believed but computed.
        method_file: The fitted method of the run that wrote the texts, if it is in the same folder.
    """
    if not run.is_complete(METRICS):
        texts = read_generations(generations)
        if received:
            texts = [replace(generation, likelihoods=(), perplexity_model="") for generation in texts]
        with run.timed("evaluate"):
            result, values = evaluate(texts, protocol, perplexity_model(), metadata, scores=scores)
        write_values(run.path(VALUES), values)
        files = {VALUES: run.path(VALUES), GENERATIONS: generations}
        files |= {method_file.name: method_file} if method_file else {}
        digests = {name: digest_of(path) for name, path in files.items()}
        write_result(run.path(METRICS), result.model_copy(update={"files": digests}))
    return read_result(run.path(METRICS))


def settings_of(controller: Controller, provenance: Provenance) -> dict[str, Any]:
    """Return how a method was fitted, without the seed: the settings by which tables distinguish rows."""
    training = {name: value for name, value in provenance.settings().items() if name != "rows"}
    corpus = {"corpus": provenance.corpus.get("name"), "texts": str(provenance.corpus.get("source", ""))[:12]}
    corpus["train_rows"] = provenance.corpus.get("train_rows")
    return {**controller.settings(), **training, **corpus}


def report_stage(run: Run, generations: Path, result: Result, provenance: Provenance | None) -> None:
    """Write the report page."""
    if not run.is_complete(REPORT):
        methods = dict.fromkeys(row.method for row in result.rows if row.strength)
        name = ", ".join(TITLES.get(method, method.replace("_", " ")) for method in methods) or "plain model"
        title = f"{name}: {result.protocol['name']} on {result.rows[0].model}"
        curve = provenance.training.get("curve") if provenance else None
        page = report(result, read_generations(generations), curve=curve, title=title, facts=_facts(provenance))
        atomic_write_lines(run.path(REPORT), page.rstrip("\n").split("\n"))


def finished_result(run: Run) -> Result | None:
    """Return the result of a finished run; None if it was not evaluated."""
    logger.info("finished already: %s", run.folder)
    return read_result(run.path(METRICS)) if run.is_complete(METRICS) else None


def summary(run: Run, result: Result) -> str:
    """Format the table of a run and the path of its report for printing."""
    return f"\n{result_text(result)}\n\nreport: {run.path(REPORT)}"


def _facts(provenance: Provenance | None) -> dict[str, str]:
    """Return the facts about the fit that the report lists."""
    if provenance is None:
        return {}
    training = provenance.settings()
    training |= (
        _summarize_solver(provenance.training["solver_result"]) if "solver_result" in provenance.training else {}
    )
    calibration = {
        f"{entry['budget']}, {'+' if entry['direction'] > 0 else '-'}": (
            "out of reach" if entry["strength"] is None else f"{entry['strength']:+g}"
        )
        for entry in provenance.calibration
    }
    fields = asdict(provenance) | {"training": training, "calibration": calibration}
    return {f"fit: {name}": _format_fact(value) for name, value in fields.items() if value not in ({}, "")}


def _summarize_solver(result: Mapping[str, Any]) -> dict[str, Any]:
    """Summarize the result of the one-pass solver in a few numbers."""
    null = {name: result["null"][name] for name in ("above", "threshold") if name in result["null"]}
    largest = {"largest": result["spectrum"][0]} if result["spectrum"] else {}
    return {"directions": result["rank"], **largest, **null, "unit": result["unit"]}


def _format_fact(value: object) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
