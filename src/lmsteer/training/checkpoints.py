"""Checkpoints of a fit: complete or absent, one file."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write


class LastCheckpoint(ModelCheckpoint):
    """The last state of a fit, from which an interrupted one resumes.

    Args:
        every_n_steps: Steps between two checkpoints. None: after each validation, so that a resumed fit knows the dev
            loss.
    """

    def __init__(self, folder: Path, every_n_steps: int | None) -> None:
        super().__init__(
            folder,
            filename="last",
            every_n_train_steps=every_n_steps,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self.path = folder / "last.ckpt"

    def resumed_path(self) -> str | None:
        """Return the path of the checkpoint of an earlier attempt; None if there is none.

        Raises:
            InputError: If it is damaged.
        """
        if not self.path.exists():
            return None
        try:
            torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            remedy = "delete its folder to fit from the beginning"
            raise InputError(f"{self.path}: damaged checkpoint; {remedy}") from error
        return str(self.path)


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
