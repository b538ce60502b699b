"""Inputs of a study: its configuration, a steer of the tiny model, prompts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from lmsteer.cli.app import CONF
from lmsteer.models.random_models import tiny
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import Provenance, save_steer


def study_config(name: str, *overrides: str) -> Any:
    """Compose a configuration, as the command does."""
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(name, overrides=list(overrides))


def write_steer(path: Path, steer: Steer, **training: Any) -> Path:
    """Save a steer as one of the tiny model."""
    save_steer(path, steer, Provenance("tiny-0", tiny().head.fingerprint(), training=training))
    return path


def write_prompts(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path
