"""Check a composed configuration and build objects from it, with one clear line where something is wrong."""

import json
import logging
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import GenericAlias
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError

from lmsteer.cli.app import CONF
from lmsteer.cli.identity import STEER_FILES
from lmsteer.cli.options import COMMON
from lmsteer.cli.signatures import ANY_NAME, parameters, parameters_without_import
from lmsteer.data.sizes import check_sizes
from lmsteer.distributed.processes import Processes
from lmsteer.errors import InputError
from lmsteer.extras import missing_extra
from lmsteer.steering.provenance import is_method_file, read_metadata
from lmsteer.steering.steer_location import locate_steer
from lmsteer.training.trainer_options import check_trainer_options

OBJECTS = {
    *("model", "to", "steer", "method", "corpus", "data", "solver", "module", "optimizer", "trainer"),
    *("decoding", "prompts", "protocol"),
}
"""Options that are objects; the protocol may be none."""
HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_"}
Types = Mapping[str, Any]
logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it logs over many lines what is raised here in one


def check_config(cfg: DictConfig, types: Types) -> dict[str, Any]:
    """Return a configuration as plain values once every option, and every key and value of an object, is checked.

    Args:
        types: Types of the options that this command has besides the common ones.

    Raises:
        InputError: If a key is unknown or missing, or a value is not of the type that its object takes.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise InputError(f"{missing[0]}: a value is needed; give {missing[0]}=… on the command line")
    config = typing.cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    config.pop("verbosity", None)  # of the program, see ``app``
    types = COMMON | dict(types)
    if unknown := [str(key) for key in config if key not in types and key not in OBJECTS]:
        raise _unknown_option(unknown[0], config)
    for key, node in config.items():
        if key in OBJECTS and (key != "protocol" or node) and not _is_object(node):
            choices = f"one of the choices in conf/{key!s}" if Path(CONF, str(key)).is_dir() else "its options"
            raise InputError(f"{key!s}={node!r}: {choices} expected")
        _check_node(node, f"{key!s}")
        if key in types:
            _check_value(node, types[key], f"{key!s}")
    return config


def check_overrides(cfg: DictConfig, overrides: Sequence[str], types: Types) -> None:
    """Refuse wrong values on the command line before anything heavy is imported; ``check_config`` checks all the rest.

    Args:
        overrides: Overrides of the command line, such as ``steer.rank=4``.
        types: As for ``check_config``.

    Raises:
        InputError: If there is no such option, or the value of an option is not of its type.
    """
    config = typing.cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    types = COMMON | dict(types)
    for override in overrides:
        key, _, _ = override.lstrip("+~").partition("=")
        name, _, option = key.partition(".")
        if override.startswith("~") and not option and "@" not in name:
            raise InputError(f"{name}: a value is needed, but the command line takes it away")
        if re.match(r"\+(?!\+)", override) and name in config and not (option and (name in types or name in OBJECTS)):
            raise _unknown_option(name, config)
        if name not in config:
            continue
        node, where = config[name], name
        for part in (*option.split("."), ""):  # the objects on the way to the option
            if _is_object(node):
                _check_arguments(node, where, parameters_without_import(node["_target_"]))
            node, where = node.get(part) if isinstance(node, dict) else None, f"{where}.{part}"
        if name in types:
            _check_value(config[name], types[name], key)
            is_begun = (Path(str(config.get("run_dir"))) / "config.yaml").is_file()  # it may need them no more
            for path in () if is_begun else _steer_files(name, config[name]):
                located = locate_steer(path)
                if name != "steer_file" or not is_method_file(located):
                    read_metadata(located)
        elif name in LIGHT_CHECKS and option:
            LIGHT_CHECKS[name](config[name])


def _steer_files(name: str, value: Any) -> list[str]:
    """Return the paths of steer files in the value of an option."""
    if value is None or name not in STEER_FILES:
        return []
    return [value] if isinstance(value, str) else list(value.values() if isinstance(value, dict) else value)


def _unknown_option(name: str, config: Mapping[str, Any]) -> InputError:
    return InputError(f"{name}: unknown option; allowed are {', '.join(sorted({*config} - {name}))}")


def build(node: Any, **arguments: Any) -> Any:
    """Instantiate the object of a configuration node.

    Args:
        arguments: Values that only the program knows.

    Raises:
        InputError: As the object refuses its options, without Hydra's frame around the message.
        OSError: If a file cannot be read.
    """
    try:
        return hydra.utils.instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError | OSError):
            cause = cause.__cause__
        raise (cause or error) from None


def _check_trainer(trainer: Mapping[str, Any]) -> None:
    Processes.of(trainer)
    check_trainer_options(trainer)


LIGHT_CHECKS: dict[str, Callable[[Any], object]] = {
    **dict.fromkeys(("steer", "decoding"), build),
    "solver": lambda solver: solver.get("_partial_") or build(solver),
    "trainer": _check_trainer,
    "data": check_sizes,
}
"""Checks of the values of an object that import no more than torch."""


def _check_node(node: Any, where: str) -> None:
    if isinstance(node, list):
        for index, item in enumerate(node):
            _check_node(item, f"{where}[{index}]")
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        _check_node(value, f"{where}.{key!s}")
    if _is_object(node):
        _check_arguments(node, where)


def _check_arguments(node: dict[str, Any], where: str, known: dict[str, Any] | None = None) -> None:
    """Check the options of an object against the signature of its class or function, unless that is given."""
    try:
        types = parameters(node["_target_"]) if known is None else known
    except (ImportError, ValueError, AttributeError) as error:
        unknown = InputError(f"{where}._target_={node['_target_']!r}: no such class or function")
        raise (missing_extra(error, where) or unknown) from None
    for key, value in node.items():
        if key in HYDRA_KEYS:
            continue
        if key not in types and ANY_NAME not in types:
            raise InputError(f"{where}.{key}: unknown option; allowed are {', '.join(types)}")
        plain = _without_objects(value)
        if not _is_object(plain):
            _check_value(plain, types.get(key, Any), f"{where}.{key}")


def _without_objects(value: Any) -> Any:
    """Return a list or mapping without the items that are objects, which are checked by themselves."""
    if isinstance(value, list):
        return [item for item in value if not _is_object(item)]
    if isinstance(value, dict) and "_target_" not in value:
        return {key: item for key, item in value.items() if not _is_object(item)}
    return value


def _is_object(node: Any) -> bool:
    return isinstance(node, dict) and "_target_" in node


def _check_value(value: Any, kind: Any, where: str) -> None:
    try:
        # In a list, because settings cannot be given to a dataclass; as JSON, because then a path may be a string while
        # "5" and true are no numbers.
        settings = ConfigDict(arbitrary_types_allowed=True, strict=True)
        adapter: TypeAdapter[Any] = TypeAdapter(typing.cast(Any, GenericAlias(list, kind)), config=settings)
        adapter.validate_json(json.dumps([value]))
    except ValidationError as error:
        messages = {"needs_python_object": "A config with _target_ is expected"}
        reasons = dict.fromkeys(messages.get(detail["type"], detail["msg"]) for detail in error.errors())
        raise InputError(f"{where}={value!r}: {' or '.join(reasons)}") from None
