"""Configure and run the Lightning trainer of a steer: checkpoints, processes and quiet output."""

import io
import pickle
from collections.abc import Sequence
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
from lmsteer.training.quiet import quiet_lightning


def train(
    module: SteerModule,
    data: SteerDataModule,
    *,
    dev_every: int,
    device: torch.device,
    folder: Path | None,
    loggers: Sequence[Logger],
) -> None:
    """Train for ``data.steps`` optimizer steps, in all processes of the module's process group.

    Args:
        dev_every: Steps between two validations, each of which also saves a checkpoint.
        folder: Folder of the checkpoint, from which an interrupted training resumes. None: write no checkpoint.

    Raises:
        InputError: If the checkpoint in ``folder`` is damaged.
    """
    checkpoint = None if folder is None else folder / "last.ckpt"
    optimization = module.optimization
    callbacks: list[pl.Callback] = [TQDMProgressBar(refresh_rate=1), *optimization.callbacks.values()]
    if checkpoint is not None:
        callbacks.append(
            ModelCheckpoint(
                checkpoint.parent,
                filename=checkpoint.stem,
                # With dev rows, saved after validation, so that a resumed fit knows the dev loss.
                every_n_train_steps=None if data.dev else dev_every,
                save_on_train_epoch_end=False,
                enable_version_counter=False,
            )
        )
    quiet_lightning()
    group = module.process_group
    is_distributed = group.size > 1
    trainer = pl.Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=group.local_size if is_distributed else [device.index] if device.index else 1,
        num_nodes=group.nodes,
        strategy="ddp" if is_distributed else "auto",
        plugins=TorchElasticEnvironment() if is_distributed else None,  # reads what ProcessGroup.join sets
        use_distributed_sampler=False,
        max_steps=data.steps,
        limit_val_batches=1.0 if data.dev else 0,
        val_check_interval=min(dev_every, data.steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=list(loggers) or False,
        callbacks=callbacks,
        enable_checkpointing=checkpoint is not None,
        default_root_dir=str(folder) if folder else None,
        **{"enable_model_summary": False, "log_every_n_steps": 1, **optimization.trainer},
    )
    trainer.strategy.checkpoint_io = AtomicCheckpoints()
    resume = checkpoint if checkpoint is not None and checkpoint.exists() else None
    if resume is not None:
        _check_readable(resume)
    trainer.fit(module, datamodule=data, ckpt_path=str(resume) if resume else None, weights_only=True)


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoint files that are complete or absent.

    Lightning writes to the system's temporary folder and copies the file if that is on another disk; a process killed
    during the copy leaves a truncated checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint to a temporary file in its folder, then rename it."""
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
