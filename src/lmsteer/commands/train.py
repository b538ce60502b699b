"""Fit a steer, generate with it at the protocol's strengths, score, print a table, write a report.

python -m src.train model=gpt2-large steer=detox
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.cli.configuration import build, entry_point, record, resolved, shared
from lmsteer.cli.launch import launch
from lmsteer.data.corpus import Corpus
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Result
from lmsteer.generation.plain_texts import PlainTexts
from lmsteer.models.language_model import LanguageModel
from lmsteer.reporting.tracking import Measured, track
from lmsteer.runs import preflight as resources
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.scoring.cache import ScoreCache, score_cache
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import Provenance
from lmsteer.training.fit import FitConfig, SteerConfig
from lmsteer.training.loggers import no_logger

KEYS = {
    *("stack", "run_dir", "seed", "device", "dtype", "model", "steer", "data", "protocol", "decoding", "logger", "fit"),
    *("store", "store_gib", "scores", "trainer"),
}


def train(cfg: DictConfig) -> Result | None:
    """Do the whole job of one run folder; ``protocol=none`` only fits."""
    found: Result | None = launch(job, resolved(cfg, KEYS))
    return found


def job(config: dict[str, Any], sweep: str, process_group: ProcessGroup) -> Result | None:
    """The same in one of the processes that do it; the result is the first one's."""
    run, seed = Run(Path(config["run_dir"]), record(config), process_group), config["seed"]
    if run.is_complete(stages.REPORT if config.get("protocol") else stages.STEER):
        return stages.show_finished(run, table=not sweep)
    scores = score_cache(config["scores"])
    steer_config: SteerConfig = build(config["steer"])
    fit_config: FitConfig = build(config["fit"])
    store = FeatureStoreConfig(where=config["store"], gib=config["store_gib"], store_all=bool(sweep))
    protocol: Protocol | None = build(config["protocol"]) if config.get("protocol") else None
    corpus: Corpus = build(config["data"])
    model: LanguageModel = shared(config["model"], device=config["device"], dtype=config["dtype"])
    blank = steer_config.build(model.width, seed)  # an impossible rank is refused before the folder is taken
    plan = Plan(model, blank.dimensions, protocol, build(config["decoding"])) if protocol else None
    corpus = corpus.without(plan.reserved if plan else frozenset())
    kept = scores.folder / "plain" if scores else None
    done = [stage for stage, file in (("fit", stages.STEER), ("generate", stages.GENERATIONS)) if run.is_complete(file)]
    if process_group.is_rank_zero:
        size: dict[str, Any] = {
            "seed": seed,
            "store": store,
            "plain": kept,
            "done": done,
            "processes": process_group.size,
        }
        resources.before_training(run.folder, model, corpus, steer_config, fit_config, plan, **size)
    run.begin()
    opened, tags = (
        build(config["logger"]) if process_group.is_rank_zero else no_logger,
        (model.name, steer_config.name, corpus.name),
    )
    with opened(run.folder, config, identity=run.config, sweep=sweep, tags=tags) as logger:
        steer, provenance = stages.fit_stage(
            run, model, corpus, steer_config, fit_config, seed=seed, store=store, logger=logger
        )
        provenance, found = measure(run, plan, steer, provenance, config, scores) if plan else (provenance, None)
        track(logger, run.path(stages.STEER), provenance, found, step=fit_config.steps)
    if found is None:
        print(f"steer: {run.path(stages.STEER)}")
        return None
    stages.report_stage(Run(run.folder, run.config), found.generations, found.result, provenance)
    return found.result


def measure(
    run: Run, plan: Plan, steer: Steer, provenance: Provenance, config: dict[str, Any], scores: ScoreCache | None
) -> tuple[Provenance, Measured | None]:
    """Calibrate and generate together, then score in the first process, which alone has something to return."""
    plain = stages.plain_stage(run, plan.generators, PlainTexts(scores.folder / "plain" if scores else None))
    provenance = stages.calibrate_stage(run, plan, plain, steer, provenance)
    generations = stages.generate_stage(run, plan, plain, steer, provenance)
    alone = Run(run.folder, run.config, run.process_group.destroy())
    if not run.process_group.is_rank_zero:
        return provenance, None
    metadata = plan.metadata(config["seed"], stages.settings_of(steer, provenance), config["decoding"])
    result = stages.evaluate_stage(
        alone, generations, plan.protocol, lambda: plan.perplexity_model, metadata, scores=scores
    )
    return provenance, Measured(result, generations)


main = entry_point("train")(train)
