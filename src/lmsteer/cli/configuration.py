"""Check a composed configuration and build objects from it, with one clear line where something is wrong."""

import builtins
import hashlib
import inspect
import json
import logging
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any

import hydra
from hydra.errors import InstantiationException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from lmsteer.cli.app import CONF
from lmsteer.errors import InputError
from lmsteer.extras import missing_extra
from lmsteer.models.device_options import Device, Dtype

NonEmpty = Annotated[str, Field(min_length=1)]
COMMON_TYPES: dict[str, Any] = {
    "run_dir": NonEmpty,
    "seed": Annotated[int, Field(ge=0, lt=2**63)],
    "device": Device,
    "dtype": Dtype,
    "samples": int,
    "batch_size": int,
    "steer_file": NonEmpty | None,
    "generations": NonEmpty,
    "method": NonEmpty,
    "writer": str | None,
    "store": NonEmpty,
    "store_gib": Annotated[float, Field(gt=0)],
    "scores": NonEmpty,
    "objective": NonEmpty | None,
    "logger": dict[str, Any],
    "callbacks": dict[str, Any],
    "scheduler": dict[str, Any] | None,
}
LIGHT_OBJECTS = ("steer", "fit", "trainer", "decoding")
"""Objects that are built without importing more than torch."""
TARGETS = {"model", "steer", "data", "fit", "decoding", "prompts", "trainer", "optimizer"}
"""Options that are objects; the protocol is one too, but may be none."""
NESTED_OPTIONS = {"data": ("store", "store_gib")}
"""Options that are written inside an object on the command line, but are for the program and not for that object."""
NOT_IDENTIFYING = ("run_dir", "store", "store_gib", "scores", "logger", "trainer", "objective")
"""Options that do not change the results of a run."""
PROCESS_OPTIONS = ("_target_", "strategy", "devices")
"""Options of the trainer that do not change the results of a run."""
INPUT_FILES = {"path", "steer_file", "steer_files", "steers", "generations", "checkpoint", "texts"}
"""Options that name files whose content decides what a run computes."""
HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_"}
logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it logs over many lines what is raised here in one


def check_config(cfg: DictConfig, keys: set[str], types: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a configuration as plain values once every option, and every key and value of an object, is checked.

    Args:
        keys: Options of the command.
        types: Types of those that no other command has.

    Raises:
        InputError: If a key is unknown or missing, or a value is not of the type that its object takes.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise InputError(f"{missing[0]}: a value is needed; give {missing[0]}=… on the command line")
    nested = _pop_nested_options(cfg)
    config = typing.cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)) | nested
    config.pop("verbosity", None)  # of the program, see ``app``
    for key in config:
        if key not in keys:
            raise InputError(f"{key!s}: unknown option; allowed are {', '.join(sorted(keys))}")
    if absent := sorted(keys - {"protocol"} - {str(key) for key in config}):
        raise InputError(f"{absent[0]}: a value is needed, but the command line takes it away")
    known_types = COMMON_TYPES | dict(types or {})
    for key, node in config.items():
        if (key in TARGETS or (key == "protocol" and node)) and not _is_object(node):
            choices = f"one of the choices in conf/{key!s}" if Path(CONF, str(key)).is_dir() else "its options"
            raise InputError(f"{key!s}={node!r}: {choices} expected")
        _check_node(node, f"{key!s}")
        if key in known_types:
            _check_value(node, known_types[key], f"data.{key!s}" if key in nested else f"{key!s}")
    return config


def check_overrides(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse wrong values on the command line before anything heavy is imported; ``check_config`` checks all the rest.

    Args:
        overrides: Overrides of the command line, such as ``steer.rank=4``.

    Raises:
        InputError: If an object does not take one of its options, or the value of an option is not of its type.
    """
    cfg = cfg.copy()
    nested = _pop_nested_options(cfg)
    config = typing.cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)) | nested
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        name, _, option = key.partition(".")
        name = option if option in NESTED_OPTIONS.get(name, ()) else name
        if name not in config:
            continue
        node, where = config[name], name
        for part in (*option.split("."), ""):  # the objects on the way to the option
            if _is_object(node):
                _check_arguments(node, where)
            node, where = node.get(part) if isinstance(node, dict) else None, f"{where}.{part}"
        if name in COMMON_TYPES:
            _check_value(config[name], COMMON_TYPES[name], key)
        elif name in LIGHT_OBJECTS and option:
            build(config[name])


def _pop_nested_options(cfg: DictConfig) -> dict[str, Any]:
    """Take the ``NESTED_OPTIONS`` out of their objects, before other nodes refer to these."""
    with open_dict(cfg):
        options = {
            name: cfg[node].pop(name)
            for node, names in NESTED_OPTIONS.items()
            for name in names
            if isinstance(cfg.get(node), DictConfig) and name in cfg[node]
        }
    return {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in options.items()
    }


def run_identity(config: dict[str, Any], *, rewrites_input: bool = False) -> str:
    """Return the YAML that identifies a run: its options but for storage places, and digests of its input files.

    Args:
        rewrites_input: The command writes its input file anew, so its digest is left out.
    """
    options = {key: value for key, value in config.items() if key not in NOT_IDENTIFYING}
    trainer = config.get("trainer", {}).items()
    if trainer := {key: value for key, value in trainer if key not in PROCESS_OPTIONS and value is not None}:
        options["trainer"] = trainer
    digests = {} if rewrites_input else dict(_input_digests(options))
    return OmegaConf.to_yaml(OmegaConf.create(options | ({"inputs": digests} if digests else {})))


def _input_digests(node: Any, where: str = "", is_input: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the options that name existing files or folders, each with the sha256 of their content."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from _input_digests(value, f"{where}.{key}" if where else str(key), is_input or key in INPUT_FILES)
    if is_input and isinstance(node, str) and (path := Path(node)).exists():
        state = hashlib.sha256()
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                state.update(hashlib.sha256(file.read_bytes()).digest())
        yield where, state.hexdigest()


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


_last_built: dict[str, Any] = {}


def build_once(node: Any, **arguments: Any) -> Any:
    """Instantiate an object, or return the one that an earlier job of this process built; only the last is kept."""
    key = json.dumps([node, arguments], sort_keys=True)
    if key not in _last_built:
        _last_built.clear()
        _last_built[key] = build(node, **arguments)
    return _last_built[key]


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


def _check_arguments(node: dict[str, Any], where: str) -> None:
    """Check the options of an object against the signature of its class or function."""
    try:
        target = get_object(node["_target_"])
    except (ImportError, ValueError, AttributeError) as error:
        unknown = InputError(f"{where}._target_={node['_target_']!r}: no such class or function")
        raise (missing_extra(error, where) or unknown) from None
    parameters = inspect.signature(target).parameters
    function = target.__init__ if inspect.isclass(target) else target
    types = typing.get_type_hints(function, localns=_Names(getattr(function, "__globals__", {})))
    for key, value in node.items():
        if key in HYDRA_KEYS:
            continue
        if key not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            raise InputError(f"{where}.{key}: unknown option; allowed are {', '.join(parameters)}")
        plain = _without_objects(value)
        if not _is_object(plain):
            _check_value(plain, types.get(key, Any), f"{where}.{key}")


class _Names(dict[str, Any]):
    """Names of a module, for its annotations; a class that is imported only for the type checker stands for objects."""

    def __missing__(self, name: str) -> Any:
        return vars(builtins).get(name, _Object)


class _Object:
    """Any object that is built from a configuration; no plain value is one."""


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
