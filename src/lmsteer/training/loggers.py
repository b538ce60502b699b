"""Experiment loggers as context managers: opened with the configuration, always finished.

Each takes the run's folder, its configuration, and what tells it from other runs: its ``identity``, the name of the
``sweep`` that it belongs to (empty: none), and ``tags``.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from lmsteer.errors import InputError

Mode = Literal["online", "offline", "disabled", "shared"]
MODES: dict[str, Mode] = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "shared": "shared",
    "run": "online",
    "dryrun": "offline",
}
"""Values of ``WANDB_MODE`` and what they mean; the last two are W&B's older names."""

TAG = 64
"""Characters of a tag, at most."""


@contextmanager
def no_logger(
    folder: Path, config: dict[str, Any], *, identity: str = "", sweep: str = "", tags: Sequence[str] = ()
) -> Iterator[None]:
    """Log nothing."""
    yield None


@contextmanager
def csv_logger(
    folder: Path, config: dict[str, Any], *, identity: str = "", sweep: str = "", tags: Sequence[str] = ()
) -> Iterator[Logger]:
    """Training curve and final values as ``csv/version_N/metrics.csv`` in the run folder, N counting the sessions."""
    logger = CSVLogger(str(folder), name="csv")
    try:
        yield logger
    finally:
        logger.save()


@contextmanager
def wandb_logger(
    folder: Path,
    config: dict[str, Any],
    *,
    identity: str = "",
    sweep: str = "",
    tags: Sequence[str] = (),
    project: str = "lmsteer",
    entity: str | None = None,
    name: str | None = None,
) -> Iterator[Logger]:
    """A Weights & Biases run: online where a key is configured, else offline; never a prompt that blocks.

    ``WANDB_MODE`` decides if it is set. Config is logged once; the run is finished whatever happens inside.

    Args:
        identity: What makes the run this one, such as the configuration in its folder; the same with the same sweep and
            name of the folder is the same W&B run, which goes on.
        sweep: Group of the run.
        tags: Cut to the 64 characters that W&B takes.
        name: None: that of the folder in a sweep, which tells the settings; else the tags.

    Raises:
        InputError: If ``WANDB_MODE`` is unknown, or W&B refuses the run or cannot be reached.
    """
    import wandb

    mode = _mode()
    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(silent=True, console="off")
    try:
        run = wandb.init(
            project=project,
            entity=entity,
            id=hashlib.sha256(f"{identity or folder.resolve()}\n{sweep}/{folder.name}".encode()).hexdigest()[:16],
            resume="allow",
            group=sweep or None,
            name=name or (folder.name if sweep else " ".join(tags) or folder.name),
            tags=list(dict.fromkeys(tag[:TAG] for tag in tags)),
            dir=str(folder),
            config=config,
            mode=mode,
            settings=settings,
        )
    except wandb.Error as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"logger=wandb: {reason}; set WANDB_MODE=offline, or logger=csv or none") from error
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    failed = True
    try:
        yield WandbLogger(experiment=run)
        failed = False
    finally:
        place = Path(run.dir).parent
        run.finish(exit_code=int(failed))
        if mode == "offline":
            print(f"W&B: logged offline; upload with: wandb sync {place}", file=sys.stderr)


def _mode() -> Mode:
    told = os.environ.get("WANDB_MODE")
    if told and told not in MODES:
        raise InputError(f"WANDB_MODE={told}: allowed are {', '.join(MODES)}")
    mode = MODES[told or "online"]
    # Online without a key, W&B would ask for one.
    return mode if mode == "disabled" or has_key() else "offline"


def has_key() -> bool:
    """Whether W&B would find a key for its server, without asking for one."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    named = os.environ.get("NETRC")
    try:
        entry = netrc(Path(named).expanduser() if named else None).authenticators(host)
    except (OSError, NetrcParseError):
        return False
    return entry is not None and bool(entry[2])
