"""Run a function of a configuration as a command: errors of the user end in one line and status 1."""

import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from lmsteer.cli.config_size import bounded_configs
from lmsteer.cli.first_choices import first_choices
from lmsteer.cli.folders import register_resolvers
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.paths import refuse_two_folders, resolve_output_folder, resolve_paths
from lmsteer.cli.repository_ids import follow_ids
from lmsteer.cli.signals import terminable
from lmsteer.cli.terminal import EscapingFormatter, accept_any_encoding, escape_tracebacks, quoted_override
from lmsteer.errors import InputError, explain_out_of_memory
from lmsteer.extras import MissingExtraError, explain_missing_extra
from lmsteer.reporting.text import escape_terminal

PACKAGE = Path(__file__).resolve().parents[1]
CONF = str(next(parent / "conf" for parent in (PACKAGE, PACKAGE.parents[1]) if (parent / "conf").is_dir()))
"""The configurations: inside an installed package, at the top of the repository otherwise."""
FULL_ERROR = "HYDRA_FULL_ERROR"
EXPECTED_ERRORS = (InputError, HydraException, OmegaConfBaseException, OSError)
"""Errors whose message says what is wrong; any other is a defect of the program and keeps its traceback."""
PLUGINS = {
    "hydra/launcher/submitit_slurm": ("hydra/launcher=slurm", "submitit"),
    "hydra/sweeper/optuna": ("hydra/sweeper=optuna", "optuna"),
}
"""Configurations that plugins of Hydra bring, which are extras: the option, and the package by its name there."""
STUDIES = {"experiment/behaviours": "python -m experiments.behaviours.run answers=FOLDER size=offline"}
"""Studies that are no sweep of ``train`` but might be looked for among its experiments, with their commands."""
INTERRUPTED = 128 + signal.SIGINT
"""Exit status after Ctrl-C, as shells have it."""
VERBOSITY = ("debug", "info", "warning", "error")

register_resolvers(CONF)


def command(name: str) -> Callable[[], None]:
    """Make the command ``lmsteer.commands.NAME``, whose module is imported only after its options are composed."""

    def run(cfg: DictConfig) -> Any:
        with explain_missing_extra(f"lmsteer {name}"):
            return getattr(import_module(f"lmsteer.commands.{name}"), name)(cfg)

    return entry_point(name)(run)


def entry_point(
    name: str, folder: str | Path = CONF, types: Mapping[str, Any] | None = None
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make a command of a function of a configuration.

    Args:
        name: The configuration, without its suffix.
        folder: Folder of the configuration.
        types: Types of its options besides the common ones; None: those of the command.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        started = False
        refusal: Exception | None = None

        @hydra.main(version_base="1.3", config_path=str(folder), config_name=name)
        def run(cfg: DictConfig) -> Any:
            nonlocal started, refusal
            started = True
            try:
                configure_logging(pop_verbosity(cfg))
                follow_ids(cfg, HydraConfig.get().overrides.task)
                resolve_paths(cfg)
                _check_overrides(cfg, OF_COMMAND.get(name, {}) if types is None else types)
                with explain_out_of_memory():
                    return function(cfg)
            except EXPECTED_ERRORS as error:
                if in_multirun():
                    raise
                refusal = error  # Hydra would print a line of its own before ours

        def main() -> None:
            accept_any_encoding()
            escape_tracebacks()
            try:
                _call(name, run)
                if refusal is not None:
                    raise refusal
            except KeyboardInterrupt:
                if os.environ.get(FULL_ERROR):
                    raise
                sys.exit(INTERRUPTED)
            except Exception as error:
                if os.environ.get(FULL_ERROR) or (started and not isinstance(error, EXPECTED_ERRORS)):
                    raise
                sys.exit(_last_line(error))

        return main

    return decorate


def _call(name: str, run: Callable[[], None]) -> None:
    """Call a function of Hydra with the command line of a command."""
    sys.argv = _resolved(name, sys.argv)
    with terminable(), full_hydra_errors(), first_choices(), bounded_configs():
        run()


def _last_line(error: Exception) -> str:
    """Return the line in which a command ends, after the line of an open progress bar."""
    if tqdm._instances:
        print(file=sys.stderr)
    return f"Error: {one_line(error)}"


def _resolved(name: str, arguments: list[str]) -> list[str]:
    """Return the command line of a command as Hydra takes it."""
    program, *options = (resolve_output_folder(argument) for argument in arguments)
    if "out" in OF_COMMAND.get(name, {}):
        refuse_two_folders(options)
    if name == "fetch":
        from lmsteer.cli.fetched_run import pack_run  # which imports this module

        options = pack_run(options)
    return [program, *options]


def _check_overrides(cfg: DictConfig, types: Mapping[str, Any]) -> None:
    from lmsteer.cli.configuration import check_overrides  # which imports this module

    check_overrides(cfg, HydraConfig.get().overrides.task, types)


@contextmanager
def full_hydra_errors() -> Iterator[None]:
    """Make Hydra raise its errors instead of printing them over many lines."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before


def pop_verbosity(cfg: DictConfig) -> str:
    """Take the option ``verbosity`` out of a configuration, as it belongs to the program and not to the run.

    Raises:
        InputError: If it is unknown.
    """
    with open_dict(cfg):
        verbosity = cfg.pop("verbosity", "info")
    if verbosity not in VERBOSITY:
        raise InputError(f"verbosity={verbosity}: {', '.join(VERBOSITY)} are allowed")
    return str(verbosity)


def configure_logging(verbosity: str) -> None:
    """Send the messages of this library to standard error, from a level upwards."""
    logger = logging.getLogger("lmsteer")
    logger.setLevel(verbosity.upper())
    handler = logging.StreamHandler()
    handler.setFormatter(EscapingFormatter("%(message)s"))
    logger.handlers, logger.propagate = [handler], False


def one_line(error: Exception) -> str:
    """Return the message of an error on one line, without what Hydra and OmegaConf add about their own internals.

    It has no control characters, which a quoted file may contain.
    """
    missing = getattr(error, "missing_cfg_file", None) or ""
    if missing in PLUGINS:
        error = MissingExtraError(*PLUGINS[missing])
    if (study := STUDIES.get(missing)) is not None:
        error = InputError(f"experiment=behaviours: a study with a command of its own: {study}")
    text = str(error).split("\nConfig search path")[0].split("\n    full_key")[0]
    if isinstance(error, OverrideParseException):
        text = _refused_override(error)
    return escape_terminal(" ".join(text.split())) or type(error).__name__


def _refused_override(error: OverrideParseException) -> str:
    """Say how an option is written that Hydra's grammar refuses."""
    name, equals, value = error.override.partition("=")
    if not equals or not re.fullmatch(r"[+~]*[\w.@/:$-]+", name, re.ASCII):
        return f"{error.override}: options are given as NAME=VALUE"
    example = quoted_override(name, value)
    return f"{error.override}: the value has signs of Hydra's grammar; quote it, for Hydra and for the shell: {example}"


def in_multirun() -> bool:
    """Return whether this is one job of several."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def sweep_name() -> str:
    """Return the name of the folder of the sweep that this job belongs to; empty outside of one."""
    return Path(HydraConfig.get().sweep.dir).name if in_multirun() else ""


def sweeper_directions() -> list[str]:
    """Return in which directions the sweeper of this job optimizes what it returns; empty: it optimizes nothing."""
    return directions_of(HydraConfig.get().sweeper) if in_multirun() else []


def directions_of(sweeper: DictConfig) -> list[str]:
    """Return the directions in which a sweeper optimizes, such as ``["maximize"]``; empty: it goes through a grid."""
    direction = sweeper.get("direction")
    if direction is None:
        return []
    directions = direction if OmegaConf.is_list(direction) else [direction]
    return [str(getattr(one, "name", one)) for one in directions]
