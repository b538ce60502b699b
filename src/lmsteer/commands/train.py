"""Fit a steer, generate with it at the protocol's strengths, score, print a table, write a report.

python -m src.train model=gpt2-large steer=detox
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.cli.app import sweeper_directions
from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.identity import run_identity
from lmsteer.cli.launch import launch
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.preparation import perplexity_model_name, prepare
from lmsteer.cli.quick_size import note_size
from lmsteer.cli.shared_objects import SHARED, model_node
from lmsteer.cli.swept_options import measured_by_seed, shares_rows
from lmsteer.cli.terminal import show
from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.evaluation.objective import OF_THE_FIT, check_objectives, objective_values
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Result
from lmsteer.generation.plain_texts import PlainTexts
from lmsteer.methods.fit_cache import FitCache
from lmsteer.methods.method import Method
from lmsteer.methods.method_file import check_loadable, load_controller
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Controller
from lmsteer.reporting.tracking import Measured, track
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.runs.sources import begin, digest_of_prompts
from lmsteer.runs.work import describe_work, fit_work, plan_work, store_limit
from lmsteer.scoring.cache import ScoreCache, score_cache
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import Solver
from lmsteer.training.loggers import RunLabels, open_loggers

logger = logging.getLogger(__name__)


def train(cfg: DictConfig) -> Result | float | tuple[float, ...] | None:
    """Fit, calibrate, generate, evaluate and report in one run folder; ``protocol=none`` only fits.

    Returns:
        The value of the option ``objective`` for a sweeper, a tuple of them if it is a list, or the result.
    """
    config = check_config(cfg, OF_COMMAND["train"])
    objectives = objective_names(config)
    if not objectives and _is_measured_elsewhere(config):
        return None
    note_size(config)
    result: Result | None = launch(partial(job, stores_rows=_stores_rows(config)), config)
    if not objectives:
        return result
    values = objective_values(objectives, result, _curve(config) if OF_THE_FIT.keys() & set(objectives) else None)
    return values if isinstance(config["objective"], list) else values[0]


def objective_names(config: dict[str, Any]) -> list[str]:
    """Return the names of the values that a sweeper optimizes.

    Raises:
        InputError: If the run returns no such value, or a sweeper needs one and has none.
    """
    objective = config["objective"]
    names = objective if isinstance(objective, list) else [objective] if objective else []
    if not names and sweeper_directions():
        raise InputError("objective=null: the sweeper optimizes a value; objective=METRIC/SETTING expected")
    for name in names:
        if config["trainer"]["strategy"] != "auto" or not (config.get("protocol") or name in OF_THE_FIT):
            raise InputError(f"objective={name}: a protocol and trainer=single are needed to return a value")
        if name in OF_THE_FIT and not config["solver"].get("_partial_"):
            raise InputError(f"objective={name}: solver=gradient is needed, which measures it on dev rows")
        if name == "dev/control" and config["module"]["stop"] != "control":
            raise InputError(f"objective={name}: module.stop=control is needed, which measures it")
    return names


def _curve(config: dict[str, Any]) -> Any:
    _, provenance = load_controller(Path(config["run_dir"]) / build_method(config).file_name)
    return provenance.training.get("curve")


def _is_measured_elsewhere(config: dict[str, Any]) -> bool:
    """Return whether the sweep has a job of another seed that fits the very same; say so, and leave no empty folder."""
    method, seed = build_method(config), measured_by_seed(config["seed"])
    if seed == config["seed"] or method.uses_seed(config["data"].get("rows")):
        return False
    logger.info("left out: %s: %s has no training seed; seed=%d measures it", config["run_dir"], method.name, seed)
    with suppress(OSError):
        Path(config["run_dir"]).rmdir()
    return True


def _stores_rows(config: dict[str, Any]) -> bool:
    """Return whether the hidden states of all rows are stored because other jobs of the sweep read them too."""
    draws_batches = bool(config["solver"].get("_partial_"))  # the one-pass solver reads all rows, whatever the seed
    return shares_rows(seed_changes_rows=draws_batches or config["data"].get("rows") is not None)


def job(config: dict[str, Any], sweep: str, process_group: ProcessGroup, *, stores_rows: bool = False) -> Result | None:
    """Do the work of ``train`` in one of its processes; rank zero returns the result."""
    run, method = Run(Path(config["run_dir"]), run_identity(config), process_group), build_method(config)
    if run.is_complete(stages.REPORT if config.get("protocol") else method.file_name):
        return finished(run, sweep)
    steer_config: SteerConfig = build(config["steer"])
    solver = build_solver(config)
    method.check(steer_config, solver)
    scores, files = score_cache(config["cache"]), prepare(config, ("model", "protocol", "corpus"), process_group)
    SHARED.retain([config.get("protocol"), config["corpus"], model_node(config)])
    corpus: Corpus = SHARED.build(config["corpus"])
    corpus.check_labels()  # before a model is loaded
    protocol: Protocol | None = SHARED.build(config["protocol"]) if config.get("protocol") else None
    model: LanguageModel = SHARED.build(model_node(config))
    dimensions = method.dimensions(steer_config, solver)
    plan = build_plan(config, protocol, model, dimensions)
    datamodule: SteerDataModule = build(config["data"])(
        rows_to_learn(corpus, plan),
        model,
        dimensions=len(dimensions),
        seed=config["seed"],
        store=FeatureStoreConfig(where=config["cache"], gib=config["cache_gib"], store_all=stores_rows),
        process_group=process_group,
    )
    if not run.is_complete(method.file_name):  # refused before anything is written
        check_method(method, datamodule, plan, steer_config, solver)
    openers = [build(node) for node in config["logger"].values()] if process_group.is_rank_zero else []
    begin(run, files, digests_of(corpus, model, plan))
    labels = RunLabels(run.config, sweep, (model.name, steer_config.name, method.name, corpus.name))
    with open_loggers(openers, run.folder, config, labels) as loggers:
        if process_group.is_rank_zero:
            logger.info("%s", work_of(config, method, datamodule, plan))
        fit_cache = FitCache(scores.folder / "fits" if scores else None)
        fitted = stages.fit_stage(run, method, datamodule, steer_config, solver, loggers, fit_cache)
        provenance, measured = measure(run, plan, method, fitted, config, scores) if plan else (fitted[1], None)
        track(loggers, run.path(method.file_name), provenance, measured, step=config["trainer"]["max_steps"])
    if measured is None:
        show(f"{method.name}: {run.path(method.file_name)}")
        return None
    stages.report_stage(Run(run.folder, run.config), measured.generations, measured.result, provenance)
    show(stages.summary(run, measured.result))
    return measured.result


def build_plan(
    config: dict[str, Any], protocol: Protocol | None, model: LanguageModel, dimensions: Sequence[str]
) -> Plan | None:
    """Plan what is measured, if anything is, and refuse an objective that is not among it."""
    plan = Plan(model, dimensions, protocol, build(config["decoding"])) if protocol else None
    if names := objective_names(config):
        check_objectives(names, plan, sweeper_directions())
    return plan


def rows_to_learn(corpus: Corpus, plan: Plan | None) -> Corpus:
    """Return the corpus without rows of the prompts and scorers of a plan, asked as its prompts are."""
    if plan is None:
        return corpus.without(frozenset())
    rows, request = corpus.without(plan.reserved), plan.protocol.ask
    return rows.asked(request) if request else rows


def build_method(config: dict[str, Any]) -> Method:
    """Build the method whose row is measured."""
    method: Method = build(config["method"])
    return method


def finished(run: Run, sweep: str) -> Result | None:
    """Return the result of a finished run; show it unless a sweep does."""
    result = stages.finished_result(run)
    if result and not sweep:
        show(stages.summary(run, result))
    return result


def check_method(
    method: Method, datamodule: SteerDataModule, plan: Plan | None, steer_config: SteerConfig, solver: Solver
) -> None:
    """Refuse what the method cannot learn from or continue, and a method whose file could not be read again."""
    check_loadable(method)
    method.check_data(datamodule, steer_config, solver)
    method.check_prompts(plan.generators.values() if plan else (), steer_config)


def digests_of(corpus: Corpus, model: LanguageModel, plan: Plan | None) -> dict[str, str]:
    """Return digests by option of what must be the same when the run is resumed."""
    digests = {"corpus": corpus.digest(), "model": model.head.fingerprint()}
    for key, prompts in (plan.sets if plan else {}).items():
        digests[f"protocol.prompts.{key}"] = digest_of_prompts(prompts)
    return digests


def work_of(config: dict[str, Any], method: Method, datamodule: SteerDataModule, plan: Plan | None) -> str:
    """Describe the work of all stages."""
    steps = config["trainer"]["max_steps"] if config["solver"].get("_partial_") else None
    fit = [fit_work(datamodule, steps, config["trainer"]["val_check_interval"])] if method.reads_corpus else []
    rest = list(plan_work(plan, perplexity_model_name(config))) if plan else []
    return describe_work([*fit, *rest], store_limit(datamodule))


def build_solver(config: dict[str, Any]) -> Solver:
    """Build the solver; gradient descent gets the LightningModule, optimizer, scheduler, callbacks and trainer."""
    solver: Solver | partial[Solver] = build(config["solver"])
    if not isinstance(solver, partial):
        return solver
    return solver(
        module=build(config["module"]),
        optimizer=build(config["optimizer"]),
        scheduler=build(config["scheduler"]) if config["scheduler"] else None,
        callbacks={name: build(node) for name, node in config["callbacks"].items()},
        trainer=build(config["trainer"]),
    )


def measure(
    run: Run,
    plan: Plan,
    method: Method,
    fitted: tuple[Controller, Provenance],
    config: dict[str, Any],
    scores: ScoreCache | None,
) -> tuple[Provenance, Measured | None]:
    """Calibrate and generate in all processes, then score in rank zero; the others return no measurements."""
    controller = fitted[0]
    plain = stages.plain_stage(run, plan.generators, PlainTexts(scores.folder / "plain" if scores else None))
    provenance = stages.calibrate_stage(run, plan, plain, run.path(method.file_name), fitted)
    generations = stages.generate_stage(run, plan, plain, controller, provenance)
    rank_zero_run = Run(run.folder, run.config, run.process_group.destroy())
    if not run.process_group.is_rank_zero:
        return provenance, None
    metadata = plan.metadata(
        provenance.seed,
        stages.settings_of(controller, provenance),
        config["decoding"],
        method=method.name,
        costs=stages.cost_stage(rank_zero_run, plan, generations, controller, provenance),
        unreached=plan.unreached(provenance.calibration, method.name),
    )
    result = stages.evaluate_stage(
        rank_zero_run,
        generations,
        plan.protocol,
        lambda: plan.perplexity_model,
        metadata,
        scores=scores,
        method_file=rank_zero_run.path(method.file_name),
    )
    return provenance, Measured(result, generations)
