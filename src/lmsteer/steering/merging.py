"""Merge the matrices of several steers into one, for the comparison of composition rules.

Only the sum, ``sum_k v_k W_k``, is what the steers together are at their strengths (``compose``). The rules here come
from the merging of models, or from a published composition of steers, and change the matrices.

Shapes: D width, K steers, R rank.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.steering.steer import Steer

MERGED = "merged"
"""Name of the only dimension of a merged steer; its strength 1 is the composition."""
DENSITY = 0.5
"""Share of the entries that ``ties`` keeps and ``dare`` does not drop."""


def mean(weighted_KDD: Tensor) -> Tensor:
    """Return the mean of weighted matrices, ``1/K sum_k v_k W_k``.

    Example:
        >>> mean(torch.tensor([[[2.0]], [[4.0]]])).item()
        3.0
    """
    return weighted_KDD.mean(0)


def ties(weighted_KDD: Tensor, *, density: float = DENSITY) -> Tensor:
    """Trim, elect a sign and merge (TIES, Yadav et al., 2023, section 3).

    Each matrix keeps the share ``density`` of its entries that are largest by magnitude; an entry of the result is the
    mean of those whose sign is that of their sum.

    Example:
        >>> ties(torch.tensor([[[3.0, -1.0]], [[-2.0, -5.0]]]), density=1.0).tolist()
        [[3.0, -3.0]]
    """
    flat_KN = weighted_KDD.flatten(1)
    largest_KN = flat_KN.abs().topk(int(_checked(density) * flat_KN.shape[1]), dim=1).indices
    trimmed = torch.zeros_like(flat_KN).scatter(1, largest_KN, flat_KN.gather(1, largest_KN)).view_as(weighted_KDD)
    agrees = trimmed.sign() == torch.where(trimmed.sum(0) >= 0, 1, -1)
    return (trimmed * agrees).sum(0) / agrees.sum(0).clamp(min=1)


def dare(weighted: Sequence[Tensor], *, density: float = DENSITY, noise: torch.Generator | None = None) -> Tensor:
    """Drop entries at random, rescale those that remain by ``1 / density``, and add (DARE, Yu et al., 2023, section 3).

    Args:
        weighted: Tensors of one shape.
        noise: Source of the random numbers. None: torch's own.

    Example:
        >>> dare([torch.ones(2), torch.ones(2)], density=1.0).tolist()
        [2.0, 2.0]
    """
    masks = [torch.bernoulli(torch.full_like(x, _checked(density)), generator=noise) for x in weighted]
    return torch.stack([x * mask / density for x, mask in zip(weighted, masks, strict=True)]).sum(0)


def add_factors_directly(steers: Sequence[Steer], strengths: Sequence[float]) -> Steer:
    """Add the factors of steers, ``h (sum_k a_k P1_k) (sum_k a_k P2_k)^T`` with ``a_k = sqrt(v_k)``.

    The result is the sum ``sum_k v_k W_k`` and all products of one steer's P1 with another's P2, which were never
    learned. Steers were composed so in arXiv 2601.05062 (without strengths), and PEFT adds LoRA adapters so.

    Raises:
        InputError: If a strength is negative, a steer is full or has a bias, or widths or ranks differ.
    """
    steers = _of_one_width(steers, strengths)
    if any(steer.p2 is None for steer in steers) or len({steer.rank for steer in steers}) > 1:
        ranks = ", ".join(str(steer.rank) for steer in steers)
        raise InputError(f"factors of ranks {ranks}: low-rank steers of one rank expected to add their factors")
    if min(strengths) < 0:
        raise InputError(f"strengths {', '.join(map(str, strengths))}: none below 0 expected to add factors")
    pairs = [
        [x * value**0.5 for x in steer.factors(0) if x is not None]
        for steer, value in zip(steers, strengths, strict=True)
    ]
    p1_DR, p2_DR = (torch.stack(side).sum(0) for side in zip(*pairs, strict=True))
    return Steer.from_factors({MERGED: (p1_DR, p2_DR)}, epsilon=steers[0].epsilon)


def merge(steers: Sequence[Steer], strengths: Sequence[float], rule: Callable[[Tensor], Tensor]) -> Steer:
    """Merge the first dimensions of steers, each times its strength, by a rule on matrices (K, D, D).

    Returns:
        A full steer, whose strength 1 is the composition.

    Raises:
        InputError: If widths differ, a steer has a bias, or there is not one strength for each.

    Example:
        >>> steers = [Steer(8, dimensions=[name], rank=2, seed=seed) for seed, name in enumerate("ab")]
        >>> torch.allclose(merge(steers, [1, 3], mean).p1[0], (steers[0].matrix(0) + 3 * steers[1].matrix(0)) / 2)
        True
    """
    steers = _of_one_width(steers, strengths)
    matrices = [value * steer.matrix(0).detach() for steer, value in zip(steers, strengths, strict=True)]
    return Steer.from_factors({MERGED: (rule(torch.stack(matrices)), None)}, epsilon=steers[0].epsilon)


def _of_one_width(steers: Sequence[Steer], strengths: Sequence[float]) -> list[Steer]:
    """Check steers that are to be merged; return them with the epsilon of the first."""
    if not steers or len(steers) != len(strengths):
        raise InputError(f"{len(steers)} steers and {len(strengths)} strengths: one for each expected")
    if len({steer.width for steer in steers}) > 1:
        raise InputError(f"steers of widths {', '.join(str(steer.width) for steer in steers)}: one width expected")
    if any(steer.bias is not None for steer in steers):
        raise InputError("a steer with a bias: matrices alone expected to be merged")
    return [steer.with_epsilon(steers[0].epsilon) for steer in steers]


def _checked(density: float) -> float:
    if not 0 < density <= 1:
        raise InputError(f"density={density}: a number above 0, at most 1, expected")
    return density
