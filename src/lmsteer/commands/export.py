"""Export a model with a folded steer as a plain checkpoint, or a steer alone, with a model card.

python -m src.export steer_file=RUN/steer.safetensors strength=5 out=FOLDER
"""

from pathlib import Path

from omegaconf import DictConfig

from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.terminal import show
from lmsteer.commands.generate import named_strength
from lmsteer.errors import InputError
from lmsteer.export.exporter import Export


def export(cfg: DictConfig) -> Path:
    """Write the export folder and print its path."""
    config = check_config(cfg, OF_COMMAND["export"])
    folder, form = Path(config["run_dir"]), config["form"]
    if form == "factors" and config["strength"] is not None:
        raise InputError(f"strength={config['strength']}: form=factors keeps every strength; leave strength out")
    model = build(config["model"], device=config["device"], dtype=config["dtype"])
    exported = Export(
        model,
        Path(config["steer_file"]),
        base_model=config["base_model"] or "",
        license=config["license"] or "",
    )
    if form == "checkpoint":
        exported.checkpoint(folder, named_strength(config["strength"], exported.steer))
    else:
        exported.factors(folder)
    show(f"{form} of {exported.steer_file} for {model.name}: {folder}")
    return folder
