"""The processes of a run, and options of its Lightning trainer."""

from typing import Any, Literal

from lmsteer.errors import InputError


class TrainerConfig:
    """Choose the number of processes of a run, and options of ``pytorch_lightning.Trainer``.

    Args:
        strategy: "single": one process. "ddp": several, each with the whole model and a shard of every batch.
        devices: Processes of each machine, with a GPU each where there are any; "auto": as many as GPUs.
        options: Further options of the Lightning trainer; None: its default.

    Raises:
        InputError: If the number is below 1, or not 1 for "single".
    """

    def __init__(
        self,
        *,
        strategy: Literal["single", "ddp"] = "single",
        devices: int | Literal["auto"] = 1,
        **options: Any,
    ) -> None:
        if devices != "auto" and devices < 1:
            raise InputError(f"trainer.devices={devices}: auto, or an integer of 1 or more expected")
        if strategy == "single" and devices != 1:
            raise InputError(f"trainer.devices={devices}: 1 expected with trainer=single; trainer=ddp takes more")
        self.strategy, self.devices = strategy, devices
        self.options = {name: value for name, value in options.items() if value is not None}

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
