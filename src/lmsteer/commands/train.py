"""Fit a steer, generate with it at the protocol's strengths, score, print a table, write a report.

python -m src.train model=gpt2-large steer=detox
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.cli.configuration import build, build_once, check_config, run_identity
from lmsteer.cli.launch import launch
from lmsteer.data.corpus import Corpus
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.evaluation.final_values import objective_value
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Result
from lmsteer.generation.plain_texts import PlainTexts
from lmsteer.models.language_model import LanguageModel
from lmsteer.reporting.tracking import Measured, track
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.scoring.cache import ScoreCache, score_cache
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.training.fit import FitEnvironment, FitJob
from lmsteer.training.fit_config import FitConfig, SteerConfig
from lmsteer.training.loggers import RunLabels, open_loggers
from lmsteer.training.optimization import Optimization

KEYS = {
    *("stack", "run_dir", "seed", "device", "dtype", "model", "steer", "data", "protocol", "decoding", "logger", "fit"),
    *("store", "store_gib", "scores", "trainer", "optimizer", "scheduler", "callbacks", "objective"),
}


def train(cfg: DictConfig) -> Result | float | None:
    """Fit, calibrate, generate, evaluate and report in one run folder; ``protocol=none`` only fits.

    Returns:
        The value of the option ``objective`` for a sweeper, or the result.
    """
    config = check_config(cfg, KEYS)
    objective = config["objective"]
    if objective and not (config.get("protocol") and config["trainer"]["strategy"] == "single"):
        raise InputError(f"objective={objective}: a protocol and trainer=single are needed to return a value")
    result: Result | None = launch(job, config)
    return objective_value(result, objective) if objective and result else result


def job(config: dict[str, Any], sweep: str, process_group: ProcessGroup) -> Result | None:
    """Do the work of ``train`` in one of its processes; rank zero returns the result."""
    run, seed = Run(Path(config["run_dir"]), run_identity(config), process_group), config["seed"]
    if run.is_complete(stages.REPORT if config.get("protocol") else stages.STEER):
        result = stages.finished_result(run)
        if result and not sweep:
            print(stages.summary(run, result))
        return result
    scores = score_cache(config["scores"])
    steer_config: SteerConfig = build(config["steer"])
    fit_config: FitConfig = build(config["fit"])
    store = FeatureStoreConfig(where=config["store"], gib=config["store_gib"], store_all=bool(sweep))
    protocol: Protocol | None = build(config["protocol"]) if config.get("protocol") else None
    corpus: Corpus = build(config["data"])
    model: LanguageModel = build_once(config["model"], device=config["device"], dtype=config["dtype"])
    dimensions = steer_config.build(model.width, seed).dimensions
    plan = Plan(model, dimensions, protocol, build(config["decoding"])) if protocol else None
    corpus = corpus.without(plan.reserved if plan else frozenset())
    environment = FitEnvironment(store=store, process_group=process_group)
    fit_job = FitJob(model, corpus, steer_config, fit_config, seed, environment, build_optimization(config))
    if not run.is_complete(stages.STEER):
        fit_job.check()
    run.begin()
    openers = [build(node) for node in config["logger"].values()] if process_group.is_rank_zero else []
    labels = RunLabels(run.config, sweep, (model.name, steer_config.name, corpus.name))
    with open_loggers(openers, run.folder, config, labels) as loggers:
        fitted = stages.fit_stage(run, fit_job, loggers)
        provenance, measured = measure(run, plan, fitted, config, scores) if plan else (fitted[1], None)
        track(loggers, run.path(stages.STEER), provenance, measured, step=fit_config.steps)
    if measured is None:
        print(f"steer: {run.path(stages.STEER)}")
        return None
    stages.report_stage(Run(run.folder, run.config), measured.generations, measured.result, provenance)
    print(stages.summary(run, measured.result))
    return measured.result


def build_optimization(config: dict[str, Any]) -> Optimization:
    """Build optimizer, scheduler and callbacks, and take the Lightning options of the trainer."""
    return Optimization(
        optimizer=build(config["optimizer"]),
        scheduler=build(config["scheduler"]) if config["scheduler"] else None,
        callbacks={name: build(node) for name, node in config["callbacks"].items()},
        trainer=build(config["trainer"]).options,
    )


def measure(
    run: Run, plan: Plan, fitted: tuple[Steer, Provenance], config: dict[str, Any], scores: ScoreCache | None
) -> tuple[Provenance, Measured | None]:
    """Calibrate and generate in all processes, then score in rank zero; the others return no measurements."""
    steer, provenance = fitted
    plain = stages.plain_stage(run, plan.generators, PlainTexts(scores.folder / "plain" if scores else None))
    provenance = stages.calibrate_stage(run, plan, plain, steer, provenance)
    generations = stages.generate_stage(run, plan, plain, steer, provenance)
    rank_zero_run = Run(run.folder, run.config, run.process_group.destroy())
    if not run.process_group.is_rank_zero:
        return provenance, None
    metadata = plan.metadata(config["seed"], stages.settings_of(steer, provenance), config["decoding"])
    result = stages.evaluate_stage(
        rank_zero_run, generations, plan.protocol, lambda: plan.perplexity_model, metadata, scores=scores
    )
    return provenance, Measured(result, generations)
