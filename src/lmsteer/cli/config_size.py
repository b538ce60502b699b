"""Refuse a configuration file that aliases make huge, before OmegaConf copies what they stand for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult

from lmsteer.errors import InputError

MOST_ENTRIES = 10_000
"""Entries of a configuration file once its aliases are replaced; the largest of this project have some fifty."""


@contextmanager
def bounded_configs() -> Iterator[None]:
    """Let Hydra load no configuration file with more entries than ``MOST_ENTRIES`` while this is open."""
    Plugins.instance()  # registers the class, which is another one than that of its module
    source: Any = SourcesRegistry.instance().resolve("file")
    load = source.load_config

    def load_bounded(self: Any, config_path: str) -> ConfigResult:
        check_aliases(Path(os.path.realpath(os.path.join(self.path, self._normalize_file_name(config_path)))))
        loaded: ConfigResult = load(self, config_path)
        return loaded

    source.load_config = load_bounded
    try:
        yield
    finally:
        source.load_config = load


def check_aliases(path: Path) -> None:
    """Refuse a YAML file whose aliases stand for too many entries, or for themselves; other faults are its reader's.

    Raises:
        InputError: Naming the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader) if "*" in text and "&" in text else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return
    if node is not None and _entries(node, {}) > MOST_ENTRIES:
        raise InputError(f"{path}: its aliases stand for more than {MOST_ENTRIES:,} entries; write out what is needed")


def _entries(node: yaml.Node, counted: dict[int, int]) -> int:
    """Count the entries of a node with those that its aliases stand for; one inside itself counts as too many."""
    if id(node) not in counted:
        counted[id(node)] = MOST_ENTRIES + 1  # while it is counted
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        pairs = [child if isinstance(child, tuple) else (child,) for child in children]
        counted[id(node)] = 1 + sum(_entries(item, counted) for pair in pairs for item in pair)
    return counted[id(node)]
