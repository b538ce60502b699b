"""Which rows make batch t: a function of (seed, t) alone, so that resume and other processes see the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def batch_rows(t: int, *, rows: int, batch_size: int, seed: int) -> list[int]:
    """Indices of the rows in training batch ``t`` (from 0).

    The corpus is gone through in a new random order each time round; batches run on over the joint, so every row comes
    equally often and no batch is short.
    """
    picked: list[int] = []
    while len(picked) < batch_size:
        round_, offset = divmod(t * batch_size + len(picked), rows)
        picked += _order(rows, seed, round_)[offset : offset + batch_size - len(picked)].tolist()
    return picked


def _order(rows: int, seed: int, round_: int) -> Tensor:
    noise = torch.Generator().manual_seed((seed * 1_000_003 + round_) % 2**63)
    return torch.randperm(rows, generator=noise)


def length_sorted_groups(
    lengths: Sequence[int], *, size: int | None = None, budget: int | None = None
) -> list[list[int]]:
    """Indices in groups, shortest texts first, so that little is padded.

    Args:
        size: Most items in a group.
        budget: Most tokens in a group, each item counting as much as the longest one.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
        taken = len(groups[-1]) + 1 if groups else 1
        full = (size is not None and taken > size) or (budget is not None and taken * lengths[index] > budget)
        if not groups or full:
            groups.append([])
        groups[-1].append(index)
    return groups
