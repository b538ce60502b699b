"""Log the end of a run: final values, and to W&B also continuations, pictures, the steer and what it was made of."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from pytorch_lightning.loggers import Logger, WandbLogger

from lmsteer.evaluation.final_values import final_values
from lmsteer.evaluation.results import Result
from lmsteer.records import read_generations
from lmsteer.reporting.plots import loss_curve, to_png
from lmsteer.reporting.run_report import side_by_side
from lmsteer.reporting.strength_curve import strength_curve
from lmsteer.reporting.wandb_artifacts import log_steer
from lmsteer.steering.provenance import Provenance


@dataclass(frozen=True)
class Measured:
    """The result of a steer, and the file of the texts that were measured."""

    result: Result
    generations: Path


def track(
    loggers: Sequence[Logger],
    steer: Path,
    provenance: Provenance,
    measured: Measured | None = None,
    *,
    step: int = 0,
    parents: Sequence[Path] = (),
) -> None:
    """Log the end of a run to each of its loggers.

    Args:
        steer: The steer file.
        measured: None if the steer was not measured.
        step: Optimizer steps of the fit, at which the values are logged.
        parents: Files of the steers that it was made of. Empty: it was fitted on a corpus.
    """
    for logger in loggers:
        if measured is not None:
            logger.log_metrics(final_values(measured.result), step=step)
        if isinstance(logger, WandbLogger):
            media = _media(provenance, measured)
            if media:
                logger.experiment.log(media | {"trainer/global_step": step})
            log_steer(logger.experiment, steer, parents=parents, link=getattr(logger, "link", None))


def _media(provenance: Provenance, measured: Measured | None) -> dict[str, Any]:
    """Convert continuations and pictures to the types of W&B."""
    import wandb

    figures = {"loss": loss_curve(provenance.training.get("curve") or {})}
    media: dict[str, Any] = {}
    if measured is not None:
        figures["strength"] = strength_curve(measured.result)
        strengths, rows = side_by_side(read_generations(measured.generations))
        data = [[row.prompt, *row.texts] for row in rows]
        media["generations"] = wandb.Table(columns=["prompt", *strengths], data=data)
    pictures = {name: Image.open(io.BytesIO(to_png(figure))) for name, figure in figures.items() if figure}
    return media | {name: wandb.Image(picture) for name, picture in pictures.items()}
