"""The identity of a run: its options that change results, and digests of its input files."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lmsteer.steering.steer_location import locate_steer

NOT_IDENTIFYING = ("run_dir", "cache", "cache_gib", "logger", "trainer", "objective")
"""Options that do not change the results of a run."""
PROCESS_OPTIONS = ("_target_", "_partial_", "strategy", "devices")
"""Options of the trainer that do not change the results of a run."""
YOUNGER_OPTIONS: dict[str, dict[str, Any]] = {
    "lmsteer.models.": {"chat": "auto", "system": None, "quantization": None},
    "lmsteer.data.sources.labeled_file.": {
        "labels": None,
        "other": "refuse",
        "thresholds": None,
        "pairs": None,
        "question": None,
    },
}
"""Options that younger versions added, by the beginning of their target: left out at their defaults, so that older
folders are still theirs."""
UNSET = (None, False)
"""Values of the listed options of the trainer that are its defaults."""
STEER_FILES = {"steer_file", "steer_files", "steers"}
"""Options that name steer files, also by their folder or their repository of the hub."""
INPUT_FILES = STEER_FILES | {"path", "generations", "checkpoint", "texts"}
"""Options that name files whose content decides what a run computes."""


def run_identity(config: dict[str, Any], *, rewrites_input: bool = False) -> str:
    """Return the YAML that identifies a run: its options but for storage places, and digests of its input files.

    Args:
        rewrites_input: The command writes its input file anew, so its digest is left out.
    """
    options = {key: _without_younger(value) for key, value in config.items() if key not in NOT_IDENTIFYING}
    trainer = config.get("trainer", {}).items()
    if trainer := {key: value for key, value in trainer if key not in PROCESS_OPTIONS and value not in UNSET}:
        options["trainer"] = trainer
    digests = {} if rewrites_input else {where: digest_of(path) for where, path in input_files(options)}
    return OmegaConf.to_yaml(OmegaConf.create(options | ({"inputs": digests} if digests else {})))


def _without_younger(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_younger(item) for item in node]
    if not isinstance(node, dict):
        return node
    target = str(node.get("_target_", ""))
    younger = next((options for start, options in YOUNGER_OPTIONS.items() if target.startswith(start)), {})
    return {key: _without_younger(value) for key, value in node.items() if younger.get(key, ...) != value}


def input_files(node: Any, where: str = "", option: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the options that name existing files or folders, each with its path; of a steer that of its file.

    Args:
        option: The option of ``INPUT_FILES`` that the node belongs to; empty: none.
    """
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        inner = option or (str(key) if key in INPUT_FILES else "")
        yield from input_files(value, f"{where}.{key}" if where else str(key), inner)
    if not option or not isinstance(node, str):
        return
    if (path := locate_steer(node) if option in STEER_FILES else Path(node)).exists():
        yield where, path


def digest_of(path: Path) -> str:
    """Return the sha256 of the content of a file, or of all files in a folder."""
    state = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as content:
                state.update(hashlib.file_digest(content, "sha256").digest())
    return state.hexdigest()
