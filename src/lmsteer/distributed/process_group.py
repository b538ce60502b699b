"""The processes that do one run together: their shares of the work, and what they tell one another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed as dist

from lmsteer.errors import InputError

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""How long processes wait for one another: the first may fill a store or a cache meanwhile."""


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How many processes fit and generate.

    Attributes:
        strategy: "single": one process. "ddp": several, each with the whole model and a share of every batch.
        devices: Processes of a machine, a GPU for each where there are any; "auto": as many as GPUs.

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
        """Processes of a machine with so many usable GPUs.

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


@dataclass(frozen=True)
class ProcessGroup:
    """One of ``size`` processes, which all call the same methods in the same order; alone by default.

    Attributes:
        rank: Place among all, from 0.
        local_rank: Place among those of this machine.
        nodes: Number of machines, each with as many processes.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    nodes: int = 1

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    @property
    def local_size(self) -> int:
        """Processes of each machine."""
        return self.size // self.nodes

    def init(self, address: str, *, gpus: bool) -> None:
        """Meet the others, before anything else is called.

        Args:
            address: Where the first process is found: ``tcp://HOST:PORT``, or ``file:///PATH`` on one machine.
            gpus: Whether each process has the GPU of its local rank.
        """
        # What Lightning reads in the place of asking us.
        ours = {"RANK": self.rank, "WORLD_SIZE": self.size, "LOCAL_RANK": self.local_rank}
        ours["GROUP_RANK"] = self.rank // self.local_size
        os.environ.update({name: str(value) for name, value in ours.items()})
        if gpus:
            torch.cuda.set_device(self.local_rank)
        backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        dist.init_process_group(backend, init_method=address, rank=self.rank, world_size=self.size, timeout=PATIENCE)

    def destroy(self, *, waiting: bool = True) -> ProcessGroup:
        """Part, and go on alone: torchmetrics would else wait for the others, and the group's threads abort the end.

        Args:
            waiting: Until all have come so far; False where this process has failed.
        """
        if self.size > 1 and dist.is_initialized():
            if waiting:
                self.barrier()
            dist.destroy_process_group()
        return ProcessGroup()

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """This process' items, which are dealt out in turn."""
        return items[self.rank :: self.size]

    def gather_in_order(self, own: Sequence[T]) -> list[T]:
        """All items in their order, of every process' share."""
        shares = self.all_gather(own)
        return [shares[index % self.size][index // self.size] for index in range(sum(map(len, shares)))]

    def all_gather(self, value: T) -> list[T]:
        """Every process' value, by rank."""
        if self.size == 1:
            return [value]
        found: list[T | None] = [None] * self.size
        dist.all_gather_object(found, value)
        return found  # type: ignore[return-value]

    def broadcast(self, value: T) -> T:
        """The first process' value."""
        if self.size == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
        return told[0]

    def all_reduce_sum(self, *values: float) -> list[float]:
        """Sums over the processes, which are equal in all of them to the last bit."""
        return [sum(column) for column in zip(*self.all_gather(values), strict=True)]

    def all_reduce_tensor(self, own: torch.Tensor) -> torch.Tensor:
        """Sum of a tensor on the CPU over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(own)
        return own

    def barrier(self) -> None:
        """Go on when all are here; a word from the first alone does not tell that process that the last has come."""
        self.all_gather(None)
