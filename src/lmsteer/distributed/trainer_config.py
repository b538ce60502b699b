"""How many processes fit and generate."""

from dataclasses import dataclass
from typing import Literal

from lmsteer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Choose the number of processes of a run.

    Attributes:
        strategy: "single": one process. "ddp": several, each with the whole model and a shard of every batch.
        devices: Processes of each machine, with a GPU each where there are any; "auto": as many as GPUs.

    Raises:
        InputError: If the number is below 1, or not 1 for "single".
    """

    strategy: Literal["single", "ddp"] = "single"
    devices: int | Literal["auto"] = 1

    def __post_init__(self) -> None:
        if self.devices != "auto" and self.devices < 1:
            raise InputError(f"trainer.devices={self.devices}: auto, or an integer of 1 or more expected")
        if self.strategy == "single" and self.devices != 1:
            raise InputError(f"trainer.devices={self.devices}: 1 expected with trainer=single; trainer=ddp takes more")

    def processes(self, *, gpus: int) -> int:
        """Return the number of processes of a machine with so many usable GPUs.

        Raises:
            InputError: If there are GPUs, but fewer than processes; or none, and their number decides.
        """
        if self.devices == "auto":
            if not gpus:
                raise InputError("trainer.devices=auto: no GPU is used here; give the number of processes")
            return gpus
        if gpus and self.devices > gpus:
            raise InputError(f"trainer.devices={self.devices}: this machine shows {gpus} GPU(s) to the process")
        return self.devices
