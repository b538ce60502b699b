"""Permutation test: how many singular values exceed those under shuffled labels.

Shapes: B texts, P permutations, R directions.
"""

import math

import torch
from torch import Tensor

from lmsteer.one_pass.one_pass_solver import LEVEL


def permute_labels(label_B: Tensor, permutations: int, *, seed: int = 0) -> Tensor:
    """Shuffle the labels between texts, (B, P); float32.

    Labels are shuffled between texts and not between tokens, since the tokens of a text are not independent. If the
    labels are unrelated to the texts, these are exchangeable: the largest singular value has any rank among those of
    its permutations with the same probability.
    """
    noise = torch.Generator().manual_seed(seed)
    permuted_BP = torch.empty(len(label_B), permutations)
    for p in range(permutations):
        permuted_BP[:, p] = label_B[torch.randperm(len(label_B), generator=noise)]
    return permuted_BP


def threshold(null_P: Tensor) -> float:
    """Return the value that a largest singular value exceeds with probability ``LEVEL`` at most under the null.

    Exact for any distribution: of P + 1 exchangeable values each is the largest with probability 1 / (P + 1).

    Args:
        null_P: The null distribution: the largest singular value under each permutation.
    """
    index = math.ceil((1 - LEVEL) * (len(null_P) + 1) - 1e-9)
    return float(null_P.sort().values[index - 1])


def count_significant(singular_values_R: Tensor, null_P: Tensor) -> int:
    """Count the singular values above the threshold of the null distribution."""
    return int((singular_values_R > threshold(null_P)).sum())
