"""Resolvers of configurations: names of the folders of runs and sweeps, and the folder of the configurations."""

import hashlib
import re

from omegaconf import OmegaConf

MAX_NAME_LENGTH = 120
"""Characters of a folder's name."""


def folder_name(overrides: str) -> str:
    """Turn the overrides of a job into the name of one folder; a changed or cut name ends in a digest.

    The end of a long name is kept, as the options that tell jobs apart, seed and steer, come last in the alphabet.
    """
    name = re.sub(r"[^\w.+-]+", "-", overrides)[-MAX_NAME_LENGTH:].strip("-._")
    if name == overrides:
        return name
    return f"{name}-{hashlib.sha256(overrides.encode()).hexdigest()[:6]}".lstrip("-")


def sweep_folder(choice: str | None, overrides: str) -> str:
    """Turn the choice of a sweep, if there is one, and the other overrides into the name of one folder."""
    names = [name for name in (choice, overrides) if name]
    return folder_name("_".join(names)) or "sweep"


def register_resolvers(conf: str) -> None:
    """Make ``${folder_name:…}``, ``${sweep_folder:…}`` and ``${conf_folder:}`` available in configurations.

    Args:
        conf: Folder of the configurations, which those of a study search too.
    """
    OmegaConf.register_new_resolver("conf_folder", lambda: f"file://{conf}", replace=True)
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
    # Cached, so that every job has the folder of the sweep, on whatever machine it runs.
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, use_cache=True, replace=True)
