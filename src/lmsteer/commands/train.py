"""Fit a steer, generate with it at the protocol's strengths, score, print a table, write a report.

python -m src.train model=gpt2-large steer=detox
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.cli.configuration import build, entry_point, record, resolved, shared
from lmsteer.cli.launch import launch
from lmsteer.data.corpus import Corpus
from lmsteer.data.feature_store import StoreSettings
from lmsteer.distributed.process_group import World
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Result
from lmsteer.generation.plain_texts import PlainTexts
from lmsteer.models.language_model import LanguageModel
from lmsteer.reporting.tracking import Measured, track
from lmsteer.runs import preflight as resources
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.scoring.cache import ScoreStore, score_store
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import Origin
from lmsteer.training.fit import FitSettings, SteerSettings
from lmsteer.training.loggers import no_logger

KEYS = {
    *("stack", "run_dir", "seed", "device", "dtype", "model", "steer", "data", "protocol", "decoding", "logger", "fit"),
    *("store", "store_gib", "scores", "trainer"),
}


def train(cfg: DictConfig) -> Result | None:
    """Do the whole job of one run folder; ``protocol=none`` only fits."""
    found: Result | None = launch(job, resolved(cfg, KEYS))
    return found


def job(config: dict[str, Any], sweep: str, world: World) -> Result | None:
    """The same in one of the processes that do it; the result is the first one's."""
    run, seed = Run(Path(config["run_dir"]), record(config), world), config["seed"]
    if run.finished(stages.REPORT if config.get("protocol") else stages.STEER):
        return stages.show_finished(run, table=not sweep)
    scores = score_store(config["scores"])
    what: SteerSettings = build(config["steer"])
    how: FitSettings = build(config["fit"])
    store = StoreSettings(where=config["store"], gib=config["store_gib"], store_all=bool(sweep))
    protocol: Protocol | None = build(config["protocol"]) if config.get("protocol") else None
    corpus: Corpus = build(config["data"])
    model: LanguageModel = shared(config["model"], device=config["device"], dtype=config["dtype"])
    blank = what.build(model.width, seed)  # an impossible rank is refused before the folder is taken
    plan = Plan(model, blank.dimensions, protocol, build(config["decoding"])) if protocol else None
    corpus = corpus.without(plan.reserved if plan else frozenset())
    kept = scores.folder / "plain" if scores else None
    done = [stage for stage, file in (("fit", stages.STEER), ("generate", stages.GENERATIONS)) if run.finished(file)]
    if world.first:
        size: dict[str, Any] = {"seed": seed, "store": store, "plain": kept, "done": done, "processes": world.size}
        resources.before_training(run.folder, model, corpus, what, how, plan, **size)
    run.begin()
    opened, tags = build(config["logger"]) if world.first else no_logger, (model.name, what.name, corpus.name)
    with opened(run.folder, config, identity=run.config, sweep=sweep, tags=tags) as logger:
        steer, origin = stages.fit_stage(run, model, corpus, what, how, seed=seed, store=store, logger=logger)
        origin, found = measure(run, plan, steer, origin, config, scores) if plan else (origin, None)
        track(logger, run.path(stages.STEER), origin, found, step=how.steps)
    if found is None:
        print(f"steer: {run.path(stages.STEER)}")
        return None
    stages.report_stage(Run(run.folder, run.config), found.generations, found.result, origin)
    return found.result


def measure(
    run: Run, plan: Plan, steer: Steer, origin: Origin, config: dict[str, Any], scores: ScoreStore | None
) -> tuple[Origin, Measured | None]:
    """Calibrate and generate together, then score in the first process, which alone has something to return."""
    plain = stages.plain_stage(run, plan.generators, PlainTexts(scores.folder / "plain" if scores else None))
    origin = stages.calibrate_stage(run, plan, plain, steer, origin)
    generations = stages.generate_stage(run, plan, plain, steer, origin)
    alone = Run(run.folder, run.config, run.world.leave())
    if not run.world.first:
        return origin, None
    labels = plan.labels(config["seed"], stages.settings_of(steer, origin), config["decoding"])
    result = stages.evaluate_stage(alone, generations, plan.protocol, lambda: plan.judge, labels, scores=scores)
    return origin, Measured(result, generations)


main = entry_point("train")(train)
