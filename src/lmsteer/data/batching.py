"""The rows of a training batch, a function of the seed and the step, so that resumed runs and processes agree."""

from collections.abc import Sequence

import torch
from torch import Tensor


def batch_rows(t: int, *, rows: int, batch_size: int, seed: int) -> list[int]:
    """Return the indices of the rows of training batch ``t`` (from 0).

    Each epoch is a new random order; batches continue across epochs, so that all rows are used equally often and no
    batch is short.
    """
    indices: list[int] = []
    while len(indices) < batch_size:
        epoch, offset = divmod(t * batch_size + len(indices), rows)
        indices += _epoch_order(rows, seed, epoch)[offset : offset + batch_size - len(indices)].tolist()
    return indices


def _epoch_order(rows: int, seed: int, epoch: int) -> Tensor:
    noise = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(rows, generator=noise)


def length_sorted_groups(
    lengths: Sequence[int], *, size: int | None = None, budget: int | None = None
) -> list[list[int]]:
    """Group indices of texts of similar length, shortest first, so that little is padded.

    Args:
        size: Largest number of texts in a group.
        budget: Largest number of tokens in a group, padding included.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
        count = len(groups[-1]) + 1 if groups else 1
        is_full = (size is not None and count > size) or (budget is not None and count * lengths[index] > budget)
        if not groups or is_full:
            groups.append([])
        groups[-1].append(index)
    return groups
