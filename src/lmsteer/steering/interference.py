"""Interference: similarity of the matrices of a steer's dimensions.

Shapes: D width, K dimensions, R columns of a factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmsteer.steering.directions import Directions
from lmsteer.steering.steer import Steer

LEADING = 8
"""Most singular directions compared per matrix; in a learned steer about 8 are above noise."""
Square = list[list[float]]
"""One number for each pair of dimensions (K, K)."""


@dataclass(frozen=True, kw_only=True)
class Interference:
    """Similarity of the matrices of a steer, and of the spaces that they read from and write to.

    Attributes:
        dimensions: Names of the K dimensions.
        cosine: ``<W_j, W_k> / (|W_j| |W_k|)`` (Frobenius) in [-1, 1].
        leading: Number of singular directions of each matrix in the overlaps.
        context_overlap: Mean squared cosine of the principal angles between the leading right singular directions,
            which say in which contexts the steer acts; in [0, 1].
        output_overlap: The same for the left ones, which say which words it raises there.
        chance_cosine: Standard deviation of the cosine of randomly rotated matrices, 1 / D; its mean is 0.
        chance_overlap: Mean overlap of randomly rotated spaces, leading / D.
    """

    dimensions: list[str]
    cosine: Square
    leading: int
    context_overlap: Square
    output_overlap: Square
    chance_cosine: float
    chance_overlap: float


@torch.no_grad()
def interference(steer: Steer) -> Interference:
    """Measure the interference between the dimensions of a steer.

    Raises:
        InputError: If a matrix is zero.
    """
    matrices = [steer.directions(k) for k in range(len(steer.dimensions))]
    leading = min(LEADING, *(len(one.sizes_R) for one in matrices))
    return Interference(
        dimensions=list(steer.dimensions),
        cosine=[[_cosine(one, other) for other in matrices] for one in matrices],
        leading=leading,
        context_overlap=_overlaps([one.context_DR[:, :leading] for one in matrices]),
        output_overlap=_overlaps([one.output_DR[:, :leading] for one in matrices]),
        chance_cosine=1 / steer.width,
        chance_overlap=leading / steer.width,
    )


def _cosine(one: Directions, other: Directions) -> float:
    """Return the cosine of ``U S V^T`` and ``U' S' V'^T``: sum of ``(U S)^T (U' S') * V^T V'`` over the norms."""
    outputs_RR = (one.output_DR * one.sizes_R).T @ (other.output_DR * other.sizes_R)
    product = (outputs_RR * (one.context_DR.T @ other.context_DR)).sum()
    return float(product / (one.sizes_R.norm() * other.sizes_R.norm()))


def _overlaps(bases: Sequence[Tensor]) -> Square:
    """Return the mean squared cosine between the spaces of orthonormal columns (D, R), for each pair."""
    return [[float((one.T @ other).square().sum() / one.shape[1]) for other in bases] for one in bases]
