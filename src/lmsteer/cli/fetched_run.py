"""The options of a run on the command line of ``fetch``, and the configurations of all jobs that they stand for."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict

from lmsteer.cli.configuration import check_config
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.paths import resolve_paths
from lmsteer.cli.repository_ids import follow_ids
from lmsteer.cli.terminal import hydra_quoted

OPTION = "run"
"""Option of ``fetch`` that holds those of the run."""
OF_FETCH = ("gemma", "accept_gemma_terms", "force", "verbosity", OPTION)
MULTIRUN = ("-m", "--multirun")


def pack_run(arguments: Sequence[str]) -> list[str]:
    """Put the options of a run, as ``train`` takes them, into the one option of ``fetch`` that holds them.

    Options of Hydra, such as the folder of the run, and ``-m`` are left out.

    Example:
        >>> pack_run(["force=true", "model=gpt2", "-m"])
        ['force=true', 'run=["model=gpt2"]']
    """
    others, run = list[str](), list[str]()
    for argument in arguments:
        key = argument.lstrip("+~").partition("=")[0]
        if argument.startswith("-") or not ("=" in argument or argument.startswith("~")) or key in OF_FETCH:
            others += [argument] * (argument not in MULTIRUN)
        elif not re.match(r"hydra[./]", key):
            run.append(argument)
    return others + [f"{OPTION}=[{','.join(map(hydra_quoted, run))}]"] * bool(run)


def job_configs(overrides: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the checked configuration of ``train`` for each job of a run, which may be a multirun.

    Raises:
        InputError: If an option is wrong.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    plain = [str(one.input_line) for one in parsed if not one.is_sweep_override()]
    choices = [list(one.sweep_string_iterator()) for one in parsed if one.is_sweep_override()]
    keys = [one.get_key_element() for one in parsed if one.is_sweep_override()]
    firsts = [f"{key}={values[0]}" for key, values in zip(keys, choices, strict=True)]
    for key, values in _named_sweep([*plain, *firsts], {one.key_or_group for one in parsed}):
        keys.append(key)
        choices.append(values)
    for combination in itertools.product(*choices):
        job = [*plain, *(f"{key}={value}" for key, value in zip(keys, combination, strict=True))]
        yield _config(compose("train", job), job)


def _named_sweep(overrides: list[str], overridden: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the options that an experiment or a sweep of ``conf`` varies, with their values, unless they are given."""
    params = compose("train", overrides, return_hydra_config=True).hydra.sweeper.get("params") or {}
    for key, values in params.items():
        if key not in overridden:
            (parsed,) = OverridesParser.create().parse_overrides([f"{key}={values}"])
            yield key, list(parsed.sweep_string_iterator()) if parsed.is_sweep_override() else [str(values)]


def _config(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    with open_dict(cfg):
        cfg.run_dir = "."  # the folder of the run is of no use here
    follow_ids(cfg, overrides)
    resolve_paths(cfg)
    return check_config(cfg, OF_COMMAND["train"])
