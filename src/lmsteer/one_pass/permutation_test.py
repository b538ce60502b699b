"""The label-permutation null: which directions stand above what labels that mean nothing would give.

Shapes: B texts, K attributes, P permutations, R directions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lmsteer.errors import InputError

LEVEL = 0.025
"""Chance that a single direction is kept although the labels have nothing to do with the texts."""


def permuted(label_BK: Tensor, permutations: int, *, seed: int = 0) -> Tensor:
    """Labels (B, K, P) that have changed places between texts; texts without a label (NaN) keep having none.

    Labels move between whole texts, since the tokens of a text are not independent. Texts are exchangeable if labels
    mean nothing: then the largest singular value takes any place among those of its permutations with the same chance.
    """
    noise = torch.Generator().manual_seed(seed)
    found_BKP = torch.full((*label_BK.shape, permutations), torch.nan)
    for k in range(label_BK.shape[1]):
        places = (~label_BK[:, k].isnan()).nonzero()[:, 0]
        for p in range(permutations):
            order = torch.randperm(len(places), generator=noise)
            found_BKP[places, k, p] = label_BK[places[order], k].float()
    return found_BKP


def check_permutations(permutations: int) -> None:
    """Refuse numbers of permutations that cannot bear out ``LEVEL``; 0 is no null.

    Raises:
        InputError: If there are fewer than 39, but some.
    """
    fewest = round(1 / LEVEL) - 1
    if permutations and permutations < fewest:
        raise InputError(f"steer.permutations={permutations}: 0 (no null), or {fewest} and more expected")


def threshold(null_P: Tensor) -> float:
    """The value that a largest singular value exceeds with a chance of ``LEVEL`` at most, if labels mean nothing.

    Exact for any distribution: of P + 1 exchangeable values each is the largest with chance 1 / (P + 1).
    """
    place = math.ceil((1 - LEVEL) * (len(null_P) + 1) - 1e-9)
    return float(null_P.sort().values[place - 1])


def above(sizes_R: Tensor, null_P: Tensor) -> int:
    """How many singular values stand above the null."""
    return int((sizes_R > threshold(null_P)).sum())
