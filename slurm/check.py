"""Check a command line before it waits in a queue: its configuration composes and its folder can be written to.

python -m slurm.check [--grid=FILE] COMMAND OVERRIDE…
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lmsteer.cli.app import CONF, one_line
from lmsteer.cli.configuration import LIGHT_CHECKS, check_config
from lmsteer.cli.options import OF_COMMAND
from lmsteer.distributed.processes import Processes
from lmsteer.errors import InputError

COMMANDS = sorted(
    path.stem
    for path in Path(CONF).glob("*.yaml")
    if (Path(CONF).parent / "src" / path.name).with_suffix(".py").is_file()
)


def check(command: str, overrides: Sequence[str]) -> Path:
    """Compose a command's configuration as the command itself would, and return the folder of its results.

    Raises:
        InputError: If the command would refuse an option, or its folder is not a fixed one that can be written to.
    """
    if command not in COMMANDS:
        raise InputError(f"{command}: no such command; allowed are {', '.join(COMMANDS)}")
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose(command, overrides=list(overrides), return_hydra_config=True)
    folder, multirun = result_folder(cfg), cfg.hydra.mode == RunMode.MULTIRUN
    with open_dict(cfg):
        del cfg["hydra"]
        cfg.run_dir = str(folder)
    config = check_config(cfg, OF_COMMAND[command])
    for name, check_object in LIGHT_CHECKS.items():
        if name in config:
            check_object(config[name])
    processes = Processes.of(config["trainer"]) if "trainer" in config else Processes()
    if multirun and processes == Processes(strategy="ddp", devices=1):
        raise InputError("tasks of srun do one run; for a sweep take slurm/job.sbatch, with trainer=ddp")
    return folder


def result_folder(cfg: DictConfig) -> Path:
    """Return the folder of the results of a run, or of an experiment with all its runs.

    Raises:
        InputError: If the time is part of its name, or it cannot be written to.
    """
    kind = "sweep" if cfg.hydra.mode == RunMode.MULTIRUN else "run"
    section = OmegaConf.to_container(cfg.hydra[kind], resolve=False)
    assert isinstance(section, dict)
    if "${now:" in str(section["dir"]):
        raise InputError(
            f"hydra.{kind}.dir={section['dir']}: a job that is requeued would not find its files again; "
            f"give hydra.{kind}.dir=FOLDER"
        )
    folder = Path(cfg.hydra[kind].dir)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"hydra.{kind}.dir={folder}: {existing} cannot be written to; choose another")
    return folder


def check_grid(command: str, common: Sequence[str], path: Path) -> list[Path]:
    """Return the folders of all lines of a grid.

    Raises:
        InputError: If a line is refused, which is named, or shares its folder with another.
    """
    folders: list[Path] = []
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    for number, line in enumerate(lines, 1):
        try:
            folder = check(command, [*common, *line.split()])
        except (InputError, HydraException, OmegaConfBaseException) as error:
            raise InputError(f"line {number} ({line}): {one_line(error)}") from error
        if folder in folders:
            raise InputError(f"lines {folders.index(folder) + 1} and {number}: both write to {folder}")
        folders.append(folder)
    return folders


def main(arguments: Sequence[str]) -> None:
    """Print where the results will be, or one line about the first error, with status 1."""
    parser = argparse.ArgumentParser(prog="slurm.check", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--grid", type=Path, help="file with the overrides of one run in each line")
    parser.add_argument("command", help=", ".join(COMMANDS))
    parser.add_argument("overrides", nargs="*")
    if {"-m", "--multirun"} & set(arguments):
        sys.exit("Error: -m: one run is expected; give a grid to slurm/array.sbatch, or use hydra/launcher=slurm")
    options = parser.parse_args(arguments)
    try:
        if options.grid is None:
            folders = [check(options.command, options.overrides)]
        else:
            folders = check_grid(options.command, options.overrides, options.grid)
    except (InputError, HydraException, OmegaConfBaseException, OSError) as error:
        sys.exit(f"Error: {one_line(error)}")
    print("results:", *folders, sep="\n  ")


if __name__ == "__main__":
    main(sys.argv[1:])
