"""Convert a checkpoint of the reference implementation of LM-Steer to a steer file.

python -m src.convert checkpoint=FILE.pt model=gpt2-large
"""

from pathlib import Path

from omegaconf import DictConfig

from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.identity import run_identity
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.terminal import show
from lmsteer.reference.reference_checkpoint import read_reference
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.steering.steer_file import save_steer


def convert(cfg: DictConfig) -> Path:
    """Write ``steer.safetensors`` in the run folder, and print its origin."""
    config = check_config(cfg, OF_COMMAND["convert"])
    run = Run(Path(config["run_dir"]), run_identity(config))
    model = build(config["model"], device=config["device"], dtype=config["dtype"])
    checkpoint, path = Path(config["checkpoint"]), run.path(stages.STEER)
    steer, provenance = read_reference(checkpoint, model, names=config["names"], epsilon=config["epsilon"])
    run.begin()
    save_steer(path, steer, provenance)
    trained_on = provenance.derivation["options"].get("model_name", "not named in it")
    show(
        f"{checkpoint}: dimensions {', '.join(steer.dimensions)}, rank {steer.rank}, epsilon {steer.epsilon:g}; "
        f"its model: {trained_on}, taken for {model.name}\n{path}"
    )
    return path
