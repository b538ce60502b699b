"""The stages of a run. Each is skipped when its file is there, and goes on where an interrupted one stopped."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from pytorch_lightning.loggers import Logger

from lmsteer.data.corpus import Corpus
from lmsteer.data.store import StoreSettings
from lmsteer.evaluation import Labels, evaluate
from lmsteer.fitting import FitSettings, SteerSettings, fit
from lmsteer.generation.decoding import Decoding
from lmsteer.generation.generate import Generator
from lmsteer.protocol import Protocol
from lmsteer.records import read_generations, write_atomically
from lmsteer.reporting.page import report
from lmsteer.reporting.result import Result, read_result, write_result
from lmsteer.reporting.table import text_table
from lmsteer.runs import Run
from lmsteer.scoring.store import ScoreStore
from lmsteer.steering.model import LanguageModel
from lmsteer.steering.steer import Steer
from lmsteer.steering.store import Origin, load_steer, save_steer

STEER, GENERATIONS, METRICS, REPORT = "steer.safetensors", "generations.jsonl", "metrics.json", "report.html"


class Plan:
    """What a protocol asks of a model, checked before any long work: prompts, strengths, and texts kept from training.

    Raises:
        InputError: If a prompt is too long for the model, or the steer will lack a dimension that the protocol names.
    """

    def __init__(
        self, model: LanguageModel, what: SteerSettings, protocol: Protocol, decoding: Decoding, seed: int
    ) -> None:
        prompts = protocol.prompt_set()
        self.strengths = protocol.settings(what.name)
        blank = what.build(model.width, seed)
        for strength in self.strengths:
            blank.strengths(strength)
        self.generator = Generator(
            model,
            prompts.prompts,
            decoding=decoding,
            samples=protocol.samples,
            seed=seed,
            batch_size=protocol.batch_size,
            prompts_name=prompts.name,
            likelihoods=protocol.judge is None,
        )
        self.reserved = prompts.reserved | protocol.reserved()


def fit_stage(
    run: Run,
    model: LanguageModel,
    corpus: Corpus,
    what: SteerSettings,
    how: FitSettings,
    *,
    seed: int,
    store: StoreSettings,
    logger: Logger | None,
) -> tuple[Steer, Origin]:
    """Fit the steer and save it; its checkpoints are deleted when it is saved."""
    if not run.finished(STEER):
        checkpoints = run.path("checkpoints")
        with run.timed("fit"):
            steer, origin = fit(model, corpus, what, how, seed=seed, folder=checkpoints, logger=logger, store=store)
        save_steer(run.path(STEER), steer, origin)
        shutil.rmtree(checkpoints, ignore_errors=True)
    return load_steer(run.path(STEER), model)


def generate_stage(run: Run, generator: Generator, strengths: list[dict[str, float]], steer: Steer | None) -> Path:
    """Write the generations of every strength; return their path."""
    path = run.path(GENERATIONS)
    if not run.finished(GENERATIONS):
        with run.timed("generate"):
            generator.write(path, strengths, steer)
    return path


def evaluate_stage(
    run: Run,
    generations: Path,
    protocol: Protocol,
    model: LanguageModel,
    labels: Labels,
    *,
    scores: ScoreStore | None = None,
) -> Result:
    """Score the generations and write the metrics."""
    if not run.finished(METRICS):
        with run.timed("evaluate"):
            judge = protocol.judge() if protocol.judge else model
            result = evaluate(read_generations(generations), protocol, judge, labels, scores=scores)
        write_result(run.path(METRICS), result)
    return read_result(run.path(METRICS))


def report_stage(run: Run, generations: Path, result: Result, origin: Origin | None) -> None:
    """Write the report page, print the table, say where everything is."""
    if not run.finished(REPORT):
        title = f"LM-Steer: {result.protocol['name']} on {result.rows[0].model}"
        curve = origin.training.get("curve") if origin else None
        page = report(result, read_generations(generations), curve=curve, title=title, facts=_facts(origin))
        write_atomically(run.path(REPORT), page.rstrip("\n").split("\n"))
    print(f"\n{text_table(result)}\n\nreport: {run.path(REPORT)}")


def _facts(origin: Origin | None) -> dict[str, str]:
    """What the report says about the steer."""
    if origin is None:
        return {}
    training = {name: value for name, value in origin.training.items() if name != "curve"}
    fields = asdict(origin) | {"training": training}
    return {f"steer: {name}": _words(value) for name, value in fields.items()}


def _words(value: object) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)


def log_metrics(logger: Logger | None, result: Result, *, step: int) -> None:
    """Final values to the experiment logger, named ``metric/strength``; ``step`` is the length of the fit."""
    if logger is None:
        return
    values: dict[str, float] = {}
    for row in result.rows:
        strength = ",".join(f"{name}{value:+g}" for name, value in row.strength.items()) or "plain"
        values |= {f"{metric}/{strength}": value.value for metric, value in row.metrics.items()}
    logger.log_metrics(values, step=step)
