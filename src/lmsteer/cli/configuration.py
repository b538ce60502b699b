"""From Hydra's world to ours: checked configurations in, one clear line out when something is wrong."""

import hashlib
import inspect
import json
import os
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from tqdm import tqdm

from lmsteer.cli.signals import terminable
from lmsteer.errors import InputError
from lmsteer.models.language_model import Device, Dtype

CONF = str(Path(__file__).resolve().parents[3] / "conf")
Words = Annotated[str, Field(min_length=1)]
COMMON: dict[str, Any] = {
    "run_dir": Words,
    "seed": Annotated[int, Field(ge=0, lt=2**63)],
    "device": Device,
    "dtype": Dtype,
    "samples": int,
    "batch_size": int,
    "steer_file": Words | None,
    "generations": Words,
    "method": Words,
    "writer": str | None,
    "store": Words,
    "store_gib": Annotated[float, Field(gt=0)],
    "scores": Words,
}
TARGETS = {"model", "steer", "data", "fit", "decoding", "prompts", "logger", "trainer"}
"""Options that a target is built of; the protocol too, but it may be none."""
MOVED = {"data": ("store", "store_gib")}
"""Options that stand with a target on the command line, but are for the program and not for the target."""
INCIDENTAL = ("run_dir", "store", "store_gib", "scores", "logger", "trainer")
"""Options that do not change what a run computes."""
INPUTS = {"path", "steer_file", "steer_files", "steers", "others", "generations", "checkpoint", "texts"}
"""Options that name files whose content decides what a run computes."""
LONGEST = 120
"""Characters of a folder's name."""
FULL_ERROR = "HYDRA_FULL_ERROR"
EXPECTED = (InputError, HydraException, OmegaConfBaseException, OSError)
"""Errors that say in their message what is wrong; others are ours, and shown in full."""
SPECIAL = {"_target_", "_partial_", "_convert_", "_recursive_"}


def folder_name(overrides: str) -> str:
    """The overrides of a job as the name of one folder, which a command line can hold; where it had to be changed or
    cut, with a digest behind it.

    Its end is kept, as what jobs differ by, seed and steer, comes last in the alphabet.
    """
    name = re.sub(r"[^\w.+-]+", "-", overrides)[-LONGEST:].strip("-._")
    if name == overrides:
        return name
    return f"{name}-{hashlib.sha256(overrides.encode()).hexdigest()[:6]}".lstrip("-")


def sweep_folder(choice: str, overrides: str) -> str:
    """The choice of a sweep and the overrides beside it as the name of one folder."""
    parts = [part for part in ("" if choice == "none" else choice, overrides) if part]
    return folder_name("_".join(parts)) or "sweep"


OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
# Cached, so that every job has the folder of the sweep, wherever it runs.
OmegaConf.register_new_resolver("sweep_folder", sweep_folder, use_cache=True, replace=True)


def entry_point(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make ``python -m src.NAME`` of a function of a config: wrong input ends in one line and status 1."""

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        started = False
        refusal: Exception | None = None

        @hydra.main(version_base="1.3", config_path=CONF, config_name=name)
        def run(cfg: DictConfig) -> None:
            nonlocal started, refusal
            started = True
            try:
                function(cfg)
            except EXPECTED as error:
                if in_multirun():
                    raise
                refusal = error  # kept from Hydra, which would print a line of its own before ours

        def main() -> None:
            asked = os.environ.get(FULL_ERROR)
            os.environ[FULL_ERROR] = "1"  # Hydra hands errors on, which it would print over many lines
            try:
                with terminable():
                    run()
                if refusal is not None:
                    raise refusal
            except Exception as error:
                if asked or (started and not isinstance(error, EXPECTED)):
                    raise
                if tqdm._instances:  # an open progress bar, whose line is not ended
                    print(file=sys.stderr)
                sys.exit(f"Error: {one_line(error)}")

        return main

    return decorate


def one_line(error: Exception) -> str:
    """The message of an error, less what Hydra and OmegaConf add about their own insides."""
    text = str(error).split("\nConfig search path")[0].split("\n    full_key")[0]
    return " ".join(text.split()) or type(error).__name__


def in_multirun() -> bool:
    """Whether this is one job of several."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def sweep_name() -> str:
    """Name of the folder of the sweep whose job this is; empty outside of one."""
    return Path(HydraConfig.get().sweep.dir).name if in_multirun() else ""


def resolved(cfg: DictConfig, keys: set[str], kinds: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The configuration as plain values, checked: top-level keys, and each target's keys and values.

    Args:
        keys: Options of the command.
        kinds: Types of those that no other command has.

    Raises:
        InputError: If a key is unknown or a value is not of the kind its target takes.
    """
    known = COMMON | dict(kinds or {})
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise InputError(f"{missing[0]}: a value is needed; give {missing[0]}=… on the command line")
    moved = _taken_out(cfg)
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    plain |= moved
    for key in plain:
        if key not in keys:
            raise InputError(f"{key!s}: unknown option; allowed are {', '.join(sorted(keys))}")
    if absent := sorted(keys - {"protocol"} - {str(key) for key in plain}):
        raise InputError(f"{absent[0]}: a value is needed, but the command line takes it away")
    for key, node in plain.items():
        if (key in TARGETS or (key == "protocol" and node)) and not _is_built(node):
            choices = f"one of the choices in conf/{key!s}" if Path(CONF, str(key)).is_dir() else "its options"
            raise InputError(f"{key!s}={node!r}: {choices} expected")
        _check(node, f"{key!s}")
        if key in known:
            _check_value(node, known[key], f"data.{key!s}" if key in moved else f"{key!s}")
    return typing.cast(dict[str, Any], plain)


def _taken_out(cfg: DictConfig) -> dict[str, Any]:
    """Take the ``MOVED`` options out of their nodes, before other nodes refer to these."""
    with open_dict(cfg):
        found = {
            name: cfg[node].pop(name)
            for node, names in MOVED.items()
            for name in names
            if isinstance(cfg.get(node), DictConfig) and name in cfg[node]
        }
    return {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in found.items()
    }


def record(config: dict[str, Any], *, without: tuple[str, ...] = INCIDENTAL, rewritten: bool = False) -> str:
    """The YAML that identifies a run: its options, less where things are kept, and digests of the files they name.

    Args:
        rewritten: The command writes its input anew, whose digest is left out.
    """
    kept = {key: value for key, value in config.items() if key not in without}
    digests = {} if rewritten else dict(_inputs(kept))
    return OmegaConf.to_yaml(OmegaConf.create(kept | ({"inputs": digests} if digests else {})))


def _inputs(node: Any, where: str = "", named: bool = False) -> Iterator[tuple[str, str]]:
    """Options that name files or folders which are there, with the sha256 of what these hold."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from _inputs(value, f"{where}.{key}" if where else str(key), named or key in INPUTS)
    if named and isinstance(node, str) and (path := Path(node)).exists():
        state = hashlib.sha256()
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                state.update(hashlib.sha256(file.read_bytes()).digest())
        yield where, state.hexdigest()


def build(node: Any, **known: Any) -> Any:
    """Instantiate a config node; ``known`` are the values that only the program knows.

    Raises:
        InputError: What the target refused, without Hydra's frame around it.
        OSError: If a file cannot be read.
    """
    try:
        return hydra.utils.instantiate(node, _convert_="all", **known)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError | OSError):
            cause = cause.__cause__
        raise (cause or error) from None


_built: dict[str, Any] = {}


def shared(node: Any, **known: Any) -> Any:
    """``build``, or what an earlier job of this process built of the same: only the last is kept."""
    key = json.dumps([node, known], sort_keys=True)
    if key not in _built:
        _built.clear()
        _built[key] = build(node, **known)
    return _built[key]


def _check(node: Any, where: str) -> None:
    if isinstance(node, list):
        for index, item in enumerate(node):
            _check(item, f"{where}[{index}]")
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        _check(value, f"{where}.{key!s}")
    if "_target_" not in node:
        return
    try:
        target = get_object(node["_target_"])
    except (ImportError, ValueError, AttributeError):
        raise InputError(f"{where}._target_={node['_target_']!r}: no such class or function") from None
    parameters = inspect.signature(target).parameters
    types = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for key, value in node.items():
        if key in SPECIAL:
            continue
        if key not in parameters:
            raise InputError(f"{where}.{key}: unknown option; allowed are {', '.join(parameters)}")
        left = _less_built(value)
        if not _is_built(left):
            _check_value(left, types.get(key, Any), f"{where}.{key}")


def _less_built(value: Any) -> Any:
    """A list or mapping without the items that are built of a target, which are checked by themselves."""
    if isinstance(value, list):
        return [item for item in value if not _is_built(item)]
    if isinstance(value, dict) and "_target_" not in value:
        return {key: item for key, item in value.items() if not _is_built(item)}
    return value


def _is_built(node: Any) -> bool:
    return isinstance(node, dict) and "_target_" in node


def _check_value(value: Any, kind: Any, where: str) -> None:
    try:
        # In a list, because settings cannot be given to a dataclass; as JSON, because then a path may be a string while
        # "5" and true are no numbers.
        settings = ConfigDict(arbitrary_types_allowed=True, strict=True)
        adapter: TypeAdapter[Any] = TypeAdapter(typing.cast(Any, GenericAlias(list, kind)), config=settings)
        adapter.validate_json(json.dumps([value]))
    except ValidationError as error:
        by_type = {"needs_python_object": "A config with _target_ is expected"}
        reasons = dict.fromkeys(by_type.get(detail["type"], detail["msg"]) for detail in error.errors())
        raise InputError(f"{where}={value!r}: {' or '.join(reasons)}") from None
