"""From Hydra's world to ours: checked configurations in, one clear line out when something is wrong."""

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import CompactHydraException, InstantiationException
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError

from lmsteer.errors import InputError
from lmsteer.steering.model import Device, Dtype

CONF = str(Path(__file__).resolve().parents[1] / "conf")
COMMON = {"seed": int, "device": Device, "dtype": Dtype, "samples": int, "batch_size": int}
SPECIAL = {"_target_", "_partial_", "_convert_", "_recursive_"}


def entry_point(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make ``python -m src.NAME`` of a function of a config: wrong input ends in one line and status 1."""

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @hydra.main(version_base="1.3", config_path=CONF, config_name=name)
        def run(cfg: DictConfig) -> None:
            try:
                function(cfg)
            except (InputError, OmegaConfBaseException) as error:
                raise CompactHydraException(f"Error: {str(error).strip().splitlines()[0]}") from None

        return typing.cast(Callable[[], None], run)

    return decorate


def resolved(cfg: DictConfig, keys: set[str]) -> dict[str, Any]:
    """The configuration as plain values, checked: top-level keys, and each target's keys and values.

    Raises:
        InputError: If a key is unknown or a value is not of the kind its target takes.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise InputError(f"{missing[0]}: a value is needed; give {missing[0]}=… on the command line")
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    for key in plain:
        if key not in keys:
            raise InputError(f"{key!s}: unknown option; allowed are {', '.join(sorted(keys))}")
    for key, node in plain.items():
        _check(node, f"{key!s}")
        if key in COMMON:
            _check_value(node, COMMON[key], f"{key!s}")
    return typing.cast(dict[str, Any], plain)


def record(config: dict[str, Any], *, without: tuple[str, ...] = ("run_dir",)) -> str:
    """The YAML that identifies a run."""
    return OmegaConf.to_yaml(OmegaConf.create({key: value for key, value in config.items() if key not in without}))


def build(node: Any, **known: Any) -> Any:
    """Instantiate a config node; ``known`` are the values that only the program knows.

    Raises:
        InputError: What the target refused, without Hydra's frame around it.
    """
    try:
        return hydra.utils.instantiate(node, _convert_="all", **known)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        raise (cause or error) from None


def _check(node: Any, where: str) -> None:
    if isinstance(node, list | ListConfig):
        for index, item in enumerate(node):
            _check(item, f"{where}[{index}]")
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        _check(value, f"{where}.{key!s}")
    if "_target_" not in node:
        return
    target = get_object(node["_target_"])
    parameters = inspect.signature(target).parameters
    types = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for key, value in node.items():
        if key in SPECIAL:
            continue
        if key not in parameters:
            raise InputError(f"{where}.{key}: unknown option; allowed are {', '.join(parameters)}")
        if not (isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))):
            _check_value(value, types.get(key, Any), f"{where}.{key}")


def _check_value(value: Any, kind: Any, where: str) -> None:
    try:
        adapter = TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))
        adapter.validate_python(value, strict=False)
    except ValidationError as error:
        reasons = dict.fromkeys(detail["msg"] for detail in error.errors())
        raise InputError(f"{where}={value!r}: {' or '.join(reasons)}") from None
