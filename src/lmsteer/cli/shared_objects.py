"""Objects that the jobs of a sweep share: models, corpora, scorers and prompts are built once in a process."""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object

from lmsteer.cli.configuration import HYDRA_KEYS, build
from lmsteer.cli.identity import digest_of, input_files
from lmsteer.errors import InputError


class SharedObjects:
    """Objects by their configuration; only for classes whose objects do not change once they are built.

    Two configurations are the same if target, options other than defaults and the content of all input files are.

    Example:
        >>> shared = SharedObjects()
        >>> node = {"_target_": "lmsteer.models.random_models.tiny", "seed": 1}
        >>> shared.build(node) is shared.build(node | {"width": 32})
        True
    """

    def __init__(self) -> None:
        self._objects: dict[str, Any] = {}
        self._digests: dict[Path, str] = {}

    def retain(self, nodes: Iterable[Any]) -> None:
        """Forget all objects but those of some configurations, so that their memory is free for the next job."""
        self._digests = {}  # of one job, as files may change between jobs
        keys = {self._key(node) for tree in nodes for node in _objects_in(tree)}
        self._objects = {key: value for key, value in self._objects.items() if key in keys}

    def build(self, node: Any) -> Any:
        """Build the object of a configuration, or return that of an earlier call; the same for objects inside it.

        A partial object is a loader: called without arguments, it returns the shared object.

        Raises:
            InputError: As the object refuses its options.
            OSError: If a file cannot be read.
        """
        if isinstance(node, list):
            return [self.build(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "_target_" not in node:
            return {name: self.build(value) for name, value in node.items()}
        if node.get("_partial_"):
            return self._loader({name: value for name, value in node.items() if name != "_partial_"})
        key = self._key(node)
        if key not in self._objects:
            self._objects[key] = _call(node["_target_"], self._bound(node))
        return self._objects[key]

    def _loader(self, node: dict[str, Any]) -> Callable[..., Any]:
        """Return a function that builds an object when it is called; the objects inside it are built now."""
        bound = self._bound(node)

        def load(*arguments: Any, **options: Any) -> Any:
            if arguments or options:
                return _call(node["_target_"], bound | options, *arguments)
            return self.build(node)

        return load

    def _key(self, node: dict[str, Any]) -> str:
        options = {name: value for name, value in node.items() if name != "_partial_"}
        digests = {where: self._digest(path) for where, path in input_files(options)}
        return json.dumps([_without_defaults(options), digests], sort_keys=True)

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = digest_of(path)
        return self._digests[path]

    def _bound(self, node: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.build(value) for name, value in node.items() if name not in HYDRA_KEYS}


SHARED = SharedObjects()
"""The objects of this process."""


def model_node(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of the model of a command, with device and precision."""
    return {**config["model"], "device": config["device"], "dtype": config["dtype"]}


def _call(target: str, options: Mapping[str, Any], *arguments: Any) -> Any:
    factory: partial[Any] = build({"_target_": target, "_partial_": True})
    try:
        return factory(*arguments, **options)
    except (InputError, OSError, InstantiationException):
        raise
    except Exception as error:  # as Hydra does
        raise InstantiationException(f"Error in call to target '{target}': {error!r}") from error


def _objects_in(node: Any) -> Iterator[dict[str, Any]]:
    """Yield a configuration of an object and those of all objects inside it."""
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for value in values:
        yield from _objects_in(value)
    if isinstance(node, dict) and "_target_" in node:
        yield node


def _without_defaults(node: Any) -> Any:
    """Return a configuration without options that have the default of their target."""
    if isinstance(node, list):
        return [_without_defaults(item) for item in node]
    if not isinstance(node, dict):
        return node
    parameters = inspect.signature(get_object(node["_target_"])).parameters if "_target_" in node else {}
    return {
        name: _without_defaults(value)
        for name, value in node.items()
        if not (name in parameters and _is_default(value, parameters[name].default))
    }


def _is_default(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)
