"""Continue prompts with a steer at one strength, or with the plain model.

python -m src.generate steer_file=RUN/steer.safetensors strength=5 prompts.path=FILE.jsonl
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.identity import PROCESS_OPTIONS, UNSET, run_identity
from lmsteer.cli.launch import launch
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.preparation import prepare
from lmsteer.cli.shared_objects import SHARED, model_node
from lmsteer.cli.terminal import show
from lmsteer.data.prompts.selection import PromptSet
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.generation.generation_files import expected_generations, read_generation_file
from lmsteer.generation.generator import Generator
from lmsteer.methods.method_file import load_controller
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Controller
from lmsteer.records import Generation
from lmsteer.reporting.text import escape_terminal
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.runs.sources import begin, digest_of_prompts
from lmsteer.runs.work import Work, describe_work, n_texts

logger = logging.getLogger(__name__)


def generate(cfg: DictConfig) -> list[Generation] | None:
    """Write ``generations.jsonl`` in the run folder and print a few of them."""
    config = check_config(cfg, OF_COMMAND["generate"])
    for name, value in config["trainer"].items():
        if value not in UNSET and name not in PROCESS_OPTIONS:
            raise InputError(f"trainer.{name}: only train has a Lightning trainer; leave it out")
    generations: list[Generation] | None = launch(job, config)
    return generations


def job(config: dict[str, Any], sweep: str, process_group: ProcessGroup) -> list[Generation]:
    """Do the work of ``generate`` in one of its processes."""
    run = Run(Path(config["run_dir"]), run_identity(config), process_group)
    files = prepare(config, ("model", "prompts"), process_group)
    SHARED.retain([config["prompts"], model_node(config)])
    prompts: PromptSet = SHARED.build(config["prompts"])()
    model: LanguageModel = SHARED.build(model_node(config))
    steer = load_controller(Path(config["steer_file"]), model)[0] if config["steer_file"] is not None else None
    strength = named_strength(config["strength"], steer)
    generator = Generator(
        model,
        prompts.prompts,
        decoding=build(config["decoding"]),
        samples=config["samples"],
        seed=config["seed"],
        batch_size=config["batch_size"],
        prompts_name=prompts.name,
    )
    generator.check(strength, steer)  # refused before the folder is taken
    path = run.path(stages.GENERATIONS)
    digests = {"model": model.head.fingerprint(), "prompts": digest_of_prompts(prompts)}
    begin(run, files, digests)
    if not run.is_complete(stages.GENERATIONS):
        texts = n_texts(generator)
        tokens = texts * generator.decoding.max_new_tokens
        logger.info("%s", describe_work([Work("texts", texts, tokens, model.name, "at most")]))
        with run.timed("generate"):
            generator.write(path, [(strength, "")], steer, process_group)
    generations = read_generation_file(
        path, expected_generations(prompts.prompts, [(strength, "")]), samples=config["samples"]
    )
    for generation in generations[:5]:
        show(escape_terminal(f"{generation.prompt.text} |{generation.texts[0]}"))
    show(f"\n{len(generations)} prompts × {config['samples']} samples: {path}")
    return generations


def named_strength(strength: object, steer: Controller | None) -> dict[str, float]:
    """Return strengths by dimension: a number is that of the steer's first dimension, None is the plain model."""
    try:
        if strength is None:
            return {}
        values = strength.values() if isinstance(strength, Mapping) else [strength]
        if any(isinstance(value, bool) for value in values):
            raise TypeError
        if isinstance(strength, Mapping):
            return {str(name): float(value) for name, value in strength.items()}
        return {steer.dimensions[0] if steer else "strength": float(strength)}  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(f"strength={strength}: a number or {{name: number, …}} expected") from None
