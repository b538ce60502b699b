"""Move a steer to another language model, whose width and vocabulary may differ.

python -m src.transfer steer_file=RUN/steer.safetensors model@to=gemma-3-270m-embedded
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.cli.app import sweep_name
from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.identity import run_identity
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.preparation import prepare
from lmsteer.cli.terminal import quoted_override, show
from lmsteer.models.language_model import LanguageModel
from lmsteer.reporting.plots import write_png
from lmsteer.reporting.tracking import track
from lmsteer.reporting.transfer_report import maps_figure, markdown
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.storage.atomic_files import atomic_write_lines
from lmsteer.training.loggers import RunLabels, open_loggers
from lmsteer.transfer.steer_transfer import align_models
from lmsteer.transfer.steer_transfer import transfer as transfer_steer
from lmsteer.transfer.unlabeled_texts import unlabeled_texts

REPORT, PICTURE = "transfer.md", "transfer.png"


def transfer(cfg: DictConfig) -> Steer:
    """Write ``steer.safetensors``, ``transfer.md`` and ``transfer.png`` in the run folder and print the report."""
    config = check_config(cfg, OF_COMMAND["transfer"])
    run = Run(Path(config["run_dir"]), run_identity(config))
    if not run.is_complete(stages.STEER):
        steer, provenance = compute(run, config)
        save_steer(run.path(stages.STEER), steer, provenance)
    steer, provenance = load_steer(run.path(stages.STEER))
    report = markdown(provenance.model, provenance.derivation)
    atomic_write_lines(run.path(REPORT), [report])
    write_png(run.path(PICTURE), maps_figure(provenance.derivation))
    labels = RunLabels(run.config, sweep_name(), (provenance.model, *steer.dimensions), "transfer")
    with open_loggers([build(node) for node in config["logger"].values()], run.folder, config, labels) as loggers:
        track(loggers, run.path(stages.STEER), provenance, parents=[Path(config["steer_file"])])
    show(f"\n{report}\n\n{run.path(stages.STEER)}")
    show("strengths differ between models; find those of equal cost with")
    show(f"python -m src.calibrate {quoted_override('steer_file', str(run.path(stages.STEER)))} model=…")
    return steer


def compute(run: Run, config: dict[str, Any]) -> tuple[Steer, Provenance]:
    """Load the texts, the models and the steer, take the folder, and transfer."""
    path = None if config["texts"] is None else Path(config["texts"])
    prepare(config, ("model", "to", *(["corpus"] * (path is None))))
    name, rows = unlabeled_texts(None if path else build(config["corpus"]), path, n=config["rows"])
    source: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    steer, provenance = load_steer(Path(config["steer_file"]), source)
    target = build(config["to"], device=config["device"], dtype=config["dtype"])
    pair = align_models(source, target, rows, name=name)
    run.begin()
    options = {option: config[option] for option in ("kind", "compared_kinds", "damping", "seed")}
    with run.timed("transfer"):
        return transfer_steer(pair, steer, provenance, **options)
