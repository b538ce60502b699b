"""Shard, broadcast, gather and wait in a run of several processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")
TIMEOUT = timedelta(days=7)
"""How long processes wait for one another: rank zero may fill a store or a cache meanwhile."""


@dataclass(frozen=True)
class ProcessGroup:
    """One of ``size`` processes, which all call the same methods in the same order; a single process by default.

    Attributes:
        rank: Index among all processes.
        local_rank: Index among those of this machine.
        nodes: Number of machines, each with as many processes.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    nodes: int = 1

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def local_size(self) -> int:
        """Processes of each machine."""
        return self.size // self.nodes

    def init(self, address: str, *, gpus: bool) -> None:
        """Join the other processes, before any other method is called.

        Args:
            address: Where rank zero is found: ``tcp://HOST:PORT``, or ``file:///PATH`` on one machine.
            gpus: Whether each process has the GPU of its local rank.
        """
        # Lightning reads these variables.
        environment = {"RANK": self.rank, "WORLD_SIZE": self.size, "LOCAL_RANK": self.local_rank}
        environment["GROUP_RANK"] = self.rank // self.local_size
        os.environ.update({name: str(value) for name, value in environment.items()})
        if gpus:
            torch.cuda.set_device(self.local_rank)
        backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        dist.init_process_group(backend, init_method=address, rank=self.rank, world_size=self.size, timeout=TIMEOUT)

    def destroy(self, *, barrier: bool = True) -> ProcessGroup:
        """Leave the group and return that of this process alone.

        Threads of gloo would abort a process that ends inside its group, and torchmetrics would wait for the others.

        Args:
            barrier: Wait until all processes have come this far; False where this one has failed.
        """
        if self.size > 1 and dist.is_initialized():
            if barrier:
                self.barrier()
            dist.destroy_process_group()
        return ProcessGroup()

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process' items: every ``size``-th one, from its rank on."""
        return items[self.rank :: self.size]

    def gather_in_order(self, shard: Sequence[T]) -> list[T]:
        """Return the items of all shards in their original order."""
        shards = self.all_gather(shard)
        return [shards[index % self.size][index // self.size] for index in range(sum(map(len, shards)))]

    def all_gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def broadcast(self, value: T) -> T:
        """Return the value of rank zero."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def all_reduce_sum(self, *values: float) -> list[float]:
        """Return sums over the processes, equal in all of them to the last bit."""
        return [sum(column) for column in zip(*self.all_gather(values), strict=True)]

    def all_reduce_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum a tensor on the CPU over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def barrier(self) -> None:
        """Wait until all processes are here; a broadcast would not tell rank zero that the last one has come."""
        self.all_gather(None)
