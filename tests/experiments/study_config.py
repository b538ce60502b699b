"""Compose the configuration of a study, as its command does."""

from typing import Any

from hydra import compose, initialize_config_dir

from lmsteer.cli.app import CONF


def study_config(name: str, *overrides: str) -> Any:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(name, overrides=list(overrides))
