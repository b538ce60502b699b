"""Find the strengths of a steer that reach a budget, and write them to its file.

python -m src.calibrate steer_file=RUN/steer.safetensors protocol.perplexity=2
"""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.identity import run_identity
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.preparation import perplexity_model_name, prepare
from lmsteer.cli.shared_objects import SHARED, model_node
from lmsteer.cli.terminal import show
from lmsteer.errors import InputError
from lmsteer.evaluation.calibration import calibrate as find_calibrations
from lmsteer.evaluation.calibration import with_calibrations
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.protocol import Protocol
from lmsteer.generation.plain_texts import PlainTexts
from lmsteer.methods.method_file import add_calibrations, load_controller
from lmsteer.models.language_model import LanguageModel
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.runs.sources import begin
from lmsteer.runs.work import calibration_work, describe_work
from lmsteer.scoring.cache import score_cache
from lmsteer.steering.steer_location import hub_steer, locate_steer

logger = logging.getLogger(__name__)


def calibrate(cfg: DictConfig) -> list[dict[str, Any]]:
    """Add the strengths to the steer file and print them."""
    config = check_config(cfg, OF_COMMAND["calibrate"])
    path = _own_file(config["steer_file"])
    run = Run(Path(config["run_dir"]), run_identity(config, rewrites_input=True))
    scores = score_cache(config["cache"])
    if not config.get("protocol"):
        raise InputError("protocol=none: nothing to calibrate on; choose a protocol with prompts")
    files = prepare(config, ("protocol", "model"))
    SHARED.retain([config["protocol"], model_node(config)])
    protocol: Protocol = SHARED.build(config["protocol"])
    if not protocol.budgets():
        raise InputError("protocol.kl and protocol.perplexity are null; a budget is needed, such as protocol.kl=0.3")
    model: LanguageModel = SHARED.build(model_node(config))
    steer, _ = load_controller(path, model)
    if config["steer"]["name"] != steer.dimensions[0]:
        raise InputError(
            f"{path}: of {steer.dimensions[0]}, but the protocol is for {config['steer']['name']}; "
            f"set steer.name={steer.dimensions[0]} and a protocol for it"
        )
    plan = Plan(model, steer.dimensions, protocol, build(config["decoding"]))
    for direction in protocol.directions():
        for generator in plan.calibration_generators_for(direction):
            generator.check({plan.dimension: float(direction)}, steer)
    begin(run, files, {})
    logger.info("%s", describe_work(list(calibration_work(plan, perplexity_model_name(config)))))
    plain = stages.plain_stage(
        run, plan.calibration_generators, PlainTexts(scores.folder / "plain" if scores else None)
    )
    entries = find_calibrations(plan, stages.read_texts(plain), steer)
    add_calibrations(path, steer, lambda provenance: with_calibrations(provenance, entries))
    for entry in entries:
        if entry["strength"] is not None:
            show(f"{entry['budget']}: {entry['dimension']} {entry['strength']:+g} reaches {entry['reached']:.4g}")
    show(f"written to {path}")
    return entries


def _own_file(name: str) -> Path:
    """Return the file of a steer that may be written anew.

    Raises:
        InputError: If it is of the hub.
    """
    if (repository := hub_steer(name)) is not None:
        file = repository.file or "steer.safetensors"
        raise InputError(
            f"steer_file={name}: it is rewritten, so that a file of yours is expected; "
            f"`hf download {repository.id} {file} --local-dir FOLDER` gives one"
        )
    return locate_steer(name)
