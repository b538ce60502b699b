"""Compose several steers of one model into one file, in which each keeps its strength.

python -m src.compose 'steer_files=[RUN/steer.safetensors,RUN/steer.safetensors]'
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.cli.app import sweep_name
from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.identity import run_identity
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.terminal import quoted_override, show
from lmsteer.errors import InputError
from lmsteer.reporting.interference_table import interference_table
from lmsteer.reporting.tracking import track
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.steering.composition import compose_files
from lmsteer.steering.interference import Interference
from lmsteer.steering.schedule import CountSchedule, Schedule
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.training.loggers import RunLabels, open_loggers


def compose(cfg: DictConfig) -> Steer:
    """Write ``steer.safetensors`` in the run folder and print the interference of its dimensions."""
    config = check_config(cfg, OF_COMMAND["compose"])
    run, parents = Run(Path(config["run_dir"]), run_identity(config)), [Path(file) for file in config["steer_files"]]
    path = run.path(stages.STEER)
    if not run.is_complete(stages.STEER):
        composed = compose_files(
            parents,
            names=config["names"],
            dummy=config["dummy"],
            rank=config["rank"],
            energy=config["energy"],
            schedules=build_schedules(config["schedules"]),
        )
        run.begin()
        save_steer(path, *composed)
    steer, provenance = load_steer(path)
    labels = RunLabels(run.config, sweep_name(), (provenance.model, *steer.dimensions), "compose")
    with open_loggers([build(node) for node in config["logger"].values()], run.folder, config, labels) as loggers:
        track(loggers, path, provenance, parents=parents)
    for name, schedule in steer.schedules.items():
        show(f"{name}: strength times {schedule}")
    if truncation := provenance.derivation.get("truncation"):
        energy = ", ".join(f"{name} {truncation['kept_energy'][name]:.4f}" for name in steer.dimensions)
        show(f"rank {steer.rank} keeps, of the energy of the full matrices: {energy}\n")
    show(interference_table(Interference(**provenance.derivation["interference"])))
    strength = ",".join(f"{steer.dimensions[k]}:3" for k in steer.attributes)
    options = f"{quoted_override('steer_file', str(path))} {shlex.quote(f'strength={{{strength}}}')}"
    show(f"\n{path}\npython -m src.generate {options}")
    return steer


def build_schedules(nodes: Mapping[str, Any]) -> dict[str, Schedule | None]:
    """Build schedules by name of dimension; None is a constant strength."""
    schedules = {name: build(node) for name, node in nodes.items()}
    for name, schedule in schedules.items():
        if schedule is not None and not isinstance(schedule, CountSchedule):
            raise InputError(f"schedules.{name}: a count expected; a gate is fitted with its model, by train")
    return schedules
