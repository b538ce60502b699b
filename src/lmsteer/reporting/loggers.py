"""Experiment loggers as context managers: opened with the configuration, always finished."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

Mode = Literal["online", "offline", "disabled", "shared"]
MODES = get_args(Mode)


@contextmanager
def no_logger(folder: Path, config: dict[str, Any]) -> Iterator[None]:
    """Log nothing."""
    yield None


@contextmanager
def csv_logger(folder: Path, config: dict[str, Any]) -> Iterator[Logger]:
    """Training curves as ``csv/metrics.csv`` in the run folder."""
    logger = CSVLogger(str(folder), name="csv", version="")
    try:
        yield logger
    finally:
        logger.save()


@contextmanager
def wandb_logger(
    folder: Path,
    config: dict[str, Any],
    *,
    project: str = "lmsteer",
    entity: str | None = None,
    name: str | None = None,
) -> Iterator[Logger]:
    """A Weights & Biases run: online where a key is configured, else offline; never a prompt that blocks.

    ``WANDB_MODE`` decides if it is set. Config is logged once; the run is finished whatever happens inside.
    """
    import wandb

    told = os.environ.get("WANDB_MODE") in MODES
    mode: Mode = cast(Mode, os.environ["WANDB_MODE"]) if told else ("online" if _has_key() else "offline")
    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(silent=True, console="off")
    run = wandb.init(
        project=project, entity=entity, name=name, dir=str(folder), config=config, mode=mode, settings=settings
    )
    failed = True
    try:
        yield WandbLogger(experiment=run)
        failed = False
    finally:
        place = Path(run.dir).parent
        run.finish(exit_code=int(failed))
        if mode == "offline":
            print(f"W&B: no key, so logged offline; upload with: wandb sync {place}", file=sys.stderr)


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0].split(":")[0]
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
