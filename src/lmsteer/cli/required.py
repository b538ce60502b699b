"""The files from elsewhere that the objects of a configuration need, as their classes and functions declare."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.utils import get_object

from lmsteer.cli.configuration import HYDRA_KEYS
from lmsteer.cli.signatures import parameters
from lmsteer.storage.required_files import RequiredFiles, required_by


@dataclass(frozen=True)
class Need:
    """Files that one object of a configuration needs.

    Attributes:
        option: Name of the object, such as ``protocol.perplexity_model``.
        options: Its options, with device and dtype of the run where it takes them and does not set them.
    """

    option: str
    files: RequiredFiles
    options: Mapping[str, Any]


def needs(config: Mapping[str, Any], names: Sequence[str]) -> list[Need]:
    """List the files that some objects of a configuration and the objects in them need, in order.

    Args:
        names: Options that are objects, such as ``model``.
    """
    required: list[Need] = []
    for name in names:
        for option, node in _objects(config.get(name), name):
            target = get_object(node["_target_"])
            plain = {key: value for key, value in node.items() if key not in HYDRA_KEYS and not _is_object(value)}
            of_run = {key: config[key] for key in ("device", "dtype") if key in config}
            accepted = parameters(node["_target_"])
            options = {key: value for key, value in of_run.items() if key in accepted} | plain
            required += [Need(option, files, options) for files in required_by(target, options)]
    return required


def _objects(node: Any, option: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if _is_object(node):
        yield option, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from _objects(value, f"{option}.{key}")


def _is_object(node: Any) -> bool:
    return isinstance(node, dict) and "_target_" in node


def distinct(required: Sequence[Need]) -> list[Need]:
    """Return the first need of each of the files."""
    firsts: list[Need] = []
    for need in required:
        if all(need.files != first.files for first in firsts):
            firsts.append(need)
    return firsts
