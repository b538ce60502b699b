"""Open experiment loggers as context managers that always finish their run."""

import hashlib
import logging
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from lmsteer.errors import InputError
from lmsteer.extras import MissingExtraError
from lmsteer.training.wandb_login import configured_mode, is_logged_in

Mode = Literal["online", "offline", "disabled", "shared"]
MODES: dict[str, Mode] = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "shared": "shared",
    "run": "online",
    "dryrun": "offline",
}
"""Mode by value of ``WANDB_MODE``; the last two are W&B's older names."""

TAG_CHARACTERS = 64
"""Maximum length of a tag in W&B."""
COLLECTION = re.compile(r"([^/:]+/){1,2}[^/:]+")
"""A collection of artifacts: ``[ENTITY/]PROJECT/NAME``; the project of a registry is ``wandb-registry-REGISTRY``."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunLabels:
    """The labels of a run in an experiment tracker.

    Attributes:
        identity: Text that identifies the run, such as its configuration. Empty: the path of its folder.
        sweep: Name of the sweep that the run belongs to. Empty: none.
        tags: Tags of the run.
        job_type: The command that the run is of.
    """

    identity: str = ""
    sweep: str = ""
    tags: tuple[str, ...] = ()
    job_type: str = "train"


NO_LABELS = RunLabels()


OpenLogger = Callable[..., AbstractContextManager[Logger]]
"""A logger of this module with its options bound; called with the folder, the configuration and the labels of a run."""


@contextmanager
def open_loggers(
    openers: Iterable[OpenLogger], folder: Path, config: dict[str, Any], labels: RunLabels = NO_LABELS
) -> Iterator[list[Logger]]:
    """Open several loggers of one run; all are finished on every exit."""
    with ExitStack() as stack:
        yield [stack.enter_context(opener(folder, config, labels)) for opener in openers]


@contextmanager
def csv_logger(folder: Path, config: dict[str, Any], labels: RunLabels = NO_LABELS) -> Iterator[Logger]:
    """Log the training curve and final values to ``csv/version_N/metrics.csv``; N counts the sessions."""
    csv = CSVLogger(str(folder), name="csv")
    try:
        yield csv
    finally:
        csv.save()


@contextmanager
def tensorboard_logger(folder: Path, config: dict[str, Any], labels: RunLabels = NO_LABELS) -> Iterator[Logger]:
    """Log the training curve and final values to ``tensorboard/version_N``.

    Raises:
        MissingExtraError: If no package of TensorBoard is installed.
    """
    try:
        tensorboard = TensorBoardLogger(str(folder), name="tensorboard")
        _ = tensorboard.experiment  # imports the package
    except ModuleNotFoundError as error:
        raise MissingExtraError("logger=tensorboard", "tensorboard") from error
    try:
        yield tensorboard
    finally:
        tensorboard.finalize("success")


class LinkingWandbLogger(WandbLogger):
    """The logger of a run of W&B, whose steer is linked to a collection.

    Attributes:
        link: The collection. None: none.
    """

    def __init__(self, run: Any, link: str | None) -> None:
        super().__init__(experiment=run)
        self.link = link


@contextmanager
def wandb_logger(
    folder: Path,
    config: dict[str, Any],
    labels: RunLabels = NO_LABELS,
    *,
    project: str = "lmsteer",
    entity: str | None = None,
    name: str | None = None,
    link: str | None = None,
) -> Iterator[Logger]:
    """Open a Weights & Biases run: online if W&B is logged in, else offline, without asking for a key.

    ``WANDB_MODE``, if set, decides instead. The run is finished on every exit. An offline run that was interrupted and
    resumed has a folder for each session, all of which are named for the upload.

    Args:
        labels: A run with the same identity, sweep and folder name resumes the same W&B run. The sweep is the group
            of the run; tags are cut to the 64 characters that W&B accepts.
        name: Name of the run. None: the folder's name in a sweep, else the tags.
        link: Collection to which the steer is linked, such as ``wandb-registry-steers/detox``. None: none.

    Raises:
        InputError: If ``WANDB_MODE`` is unknown, W&B refuses the run or cannot be reached, or the collection is no
            collection or the run offline.
    """
    import wandb

    mode = _mode()
    if link is not None:
        _check_link(link, mode)
    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(silent=True, console="off")
    try:
        run = wandb.init(
            project=project,
            entity=entity,
            id=hashlib.sha256(
                f"{labels.identity or folder.resolve()}\n{labels.sweep}/{folder.name}".encode()
            ).hexdigest()[:16],
            resume="allow",
            group=labels.sweep or None,
            job_type=labels.job_type,
            name=name or (folder.name if labels.sweep else " ".join(labels.tags) or folder.name),
            tags=list(dict.fromkeys(tag[:TAG_CHARACTERS] for tag in labels.tags)),
            dir=str(folder),
            config=config,
            mode=mode,
            settings=settings,
        )
    except wandb.Error as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise InputError(f"logger=wandb: {reason}; set WANDB_MODE=offline, or logger=csv or none") from error
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    failed = True
    try:
        yield LinkingWandbLogger(run, link)
        failed = False
    finally:
        folder_of_session = Path(run.dir).parent
        run.finish(exit_code=int(failed))
        if mode == "offline":
            sessions = _offline_sessions(folder_of_session.parent, run.id)
            logger.info("W&B: logged offline; upload with: wandb sync %s", shlex.join(map(str, sessions)))


def _check_link(link: str, mode: Mode) -> None:
    if not COLLECTION.fullmatch(link):
        raise InputError(
            f"logger.wandb.link={link}: a collection expected, wandb-registry-REGISTRY/NAME or [ENTITY/]PROJECT/NAME"
        )
    if mode == "offline":
        raise InputError(f"logger.wandb.link={link}: W&B links nothing offline; log in (wandb login), or leave it out")


def _offline_sessions(folder: Path, run_id: str) -> list[Path]:
    """Return the folders of all sessions of an offline run, the first one first.

    Their names are made of the time, the id and, of sessions that began in the same second, a number.
    """
    return sorted(folder.glob(f"offline-run-*-{run_id}*"))


def _mode() -> Mode:
    value = os.environ.get("WANDB_MODE")
    if value and value not in MODES:
        raise InputError(f"WANDB_MODE={value}: allowed are {', '.join(MODES)}")
    mode = MODES[value or configured_mode()]
    # Without a login W&B asks for a key, or refuses the run where it cannot ask; unless that is wanted, it is offline.
    return mode if value or mode in ("disabled", "offline") or is_logged_in() else "offline"
