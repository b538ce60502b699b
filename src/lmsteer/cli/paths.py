"""Options that name files: a `~` at their start is the home folder, and a pipe or a device is refused."""

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from lmsteer.cli.identity import INPUT_FILES
from lmsteer.errors import InputError
from lmsteer.records import refuse_special_file

PATH_OPTIONS = INPUT_FILES | {
    "annotation",
    "answers",
    "cache",
    "dev",
    "file",
    "gguf",
    "gguf_base",
    "id",
    "qualification",
    "rescore",
    "runs",
    "speed",
    "study",
}
"""Options that name files or folders; in lists and mappings below them, all texts do."""
OUTPUT_FOLDER = re.compile(r"""(?P<option>(?:out|hydra\.(?:run|sweep)\.dir)=["'])(?P<path>~(?:/.*)?)(?P<end>["'])""")
"""An option that names the folder of a run, which Hydra makes before the configuration can be changed."""


def resolve_paths(node: DictConfig | ListConfig, where: str = "", is_path: bool = False) -> None:
    """Expand the home folder in all options that name files, and refuse files that are not regular.

    Raises:
        InputError: If the home folder is unknown, or a file is a pipe, a device or a socket.
    """
    for key in range(len(node)) if isinstance(node, ListConfig) else list(node):
        if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
            continue
        value, names_file = node[key], is_path or key in PATH_OPTIONS
        option = f"{where}.{key}" if where else str(key)
        if isinstance(value, DictConfig | ListConfig):
            resolve_paths(value, option, names_file)
        elif names_file and isinstance(value, str):
            node[key] = expand_home(value, option)
            refuse_special_file(Path(node[key]))


def resolve_output_folder(override: str) -> str:
    """Expand the home folder in an option of the command line that names the folder of a run.

    Raises:
        InputError: If the home folder is unknown.
    """
    match = OUTPUT_FOLDER.fullmatch(override)
    if match is None:
        return override
    return match["option"] + expand_home(match["path"], match["option"][:-2]) + match["end"]


def refuse_two_folders(options: Sequence[str]) -> None:
    """Refuse ``out`` next to another folder of the run, which Hydra would write to without a word about ``out``.

    Raises:
        InputError: Naming both.
    """
    folders = dict(option.split("=", 1) for option in options if "=" in option)
    for name in ("hydra.run.dir", "hydra.sweep.dir"):
        if folders.get("out", folders.get(name)) != folders.get(name, folders.get("out")):
            raise InputError(f"out={folders['out']}, {name}={folders[name]}: two folders; give one of the two options")


def expand_home(path: str, option: str) -> str:
    """Return a path whose ``~`` is replaced by the home folder, as that of an option.

    Raises:
        InputError: If the home folder is unknown; ``~NAME`` without a user of that name is the name of a file.
    """
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        if path.partition("/")[0] != "~":
            return path
        raise InputError(f"{option}={path}: the home folder is unknown; set HOME or give the whole path") from None
