"""Lightning's trainer for a steer: its checkpoint, its processes, and no more of its output than is needed."""

from __future__ import annotations

import io
import logging
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write
from lmsteer.training.module import SteerModule


def train(
    task: SteerModule,
    data: SteerDataModule,
    *,
    steps: int,
    dev_every: int,
    device: torch.device,
    folder: Path | None,
    logger: Logger | None,
) -> None:
    """Train for so many optimizer steps, in all processes of the task's world.

    Args:
        dev_every: Steps between two looks at the dev rows, each of which also saves a checkpoint.
        folder: Where the checkpoint goes, from which a broken-off training goes on; None: nowhere.

    Raises:
        InputError: If the checkpoint that is there is damaged.
    """
    checkpoint = None if folder is None else folder / "last.ckpt"
    callbacks: list[pl.Callback] = [TQDMProgressBar(refresh_rate=1)]
    if checkpoint is not None:
        # Saved after the dev loss is known, so that a resumed fit has it; without dev rows every so many steps.
        every = None if data.dev else dev_every
        callbacks.append(
            ModelCheckpoint(
                checkpoint.parent,
                filename=checkpoint.stem,
                every_n_train_steps=every,
                save_on_train_epoch_end=False,
                enable_version_counter=False,
            )
        )
    quiet_lightning()
    several = task.process_group.size > 1
    trainer = pl.Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=task.process_group.local_size if several else [device.index] if device.index else 1,
        num_nodes=task.process_group.nodes,
        strategy="ddp" if several else "auto",
        plugins=TorchElasticEnvironment() if several else None,  # reads what ProcessGroup.join sets
        use_distributed_sampler=False,
        max_steps=steps,
        limit_val_batches=1.0 if data.dev else 0,
        val_check_interval=min(dev_every, steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=logger or False,
        log_every_n_steps=1,
        callbacks=callbacks,
        enable_checkpointing=checkpoint is not None,
        enable_model_summary=False,
        default_root_dir=str(folder) if folder else None,
    )
    trainer.strategy.checkpoint_io = WholeCheckpoints()
    resume = checkpoint if checkpoint is not None and checkpoint.exists() else None
    if resume is not None:
        _check_readable(resume)
    trainer.fit(task, datamodule=data, ckpt_path=str(resume) if resume else None, weights_only=True)


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or absent.

    Lightning's own are written to the system's temporary folder first, which is often on another disk: then they are
    copied from there, and a process that is killed meanwhile leaves half of one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint beside its place, then rename it."""
        data = io.BytesIO()
        torch.save(checkpoint, data)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(path)) as temporary:
            temporary.write_bytes(data.getbuffer())


def _check_readable(checkpoint: Path) -> None:
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{checkpoint}: damaged checkpoint; delete its folder to fit from the beginning") from error


def quiet_lightning() -> None:
    """Keep Lightning's notices on hardware, workers and other products out of the run's output."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message="The `srun` command is available")
