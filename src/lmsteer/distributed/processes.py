"""The number of processes of a run, as the options of its Lightning trainer say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmsteer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The processes of a run.

    Attributes:
        strategy: "auto": one process. "ddp": several, each with the whole model and a shard of every batch.
        devices: Processes of each machine, with a GPU each where there are any; "auto": as many as GPUs.

    Raises:
        InputError: If the strategy is another one, or the number is below 1, or not 1 for "auto".

    Example:
        >>> Processes(strategy="ddp", devices=2).number(gpus=0)
        2
    """

    strategy: str = "auto"
    devices: Any = 1

    def __post_init__(self) -> None:
        if self.strategy not in ("auto", "ddp"):
            expected = "auto (one process) or ddp expected; model.device_map=auto spreads a large model over devices"
            raise InputError(f"trainer.strategy={self.strategy}: {expected}")
        if self.devices != "auto" and (type(self.devices) is not int or self.devices < 1):
            raise InputError(f"trainer.devices={self.devices}: auto, or an integer of 1 or more expected")
        if self.strategy == "auto" and self.devices != 1:
            raise InputError(f"trainer.devices={self.devices}: 1 expected with trainer=single; trainer=ddp takes more")

    @classmethod
    def of(cls, trainer: Mapping[str, Any]) -> "Processes":
        """Read the options of a trainer, of which the others are for Lightning."""
        return cls(strategy=trainer["strategy"], devices=trainer["devices"])

    def number(self, *, gpus: int) -> int:
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
        return int(self.devices)
