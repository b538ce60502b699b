"""A steer from sums over one pass: one natural-gradient step from W = 0 (docs/one_pass.md).

Shapes: D width, K attributes, P permutations of labels, R directions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.one_pass.statistics import Statistics


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step is taken of: which part, and how far its curvature is trusted.

    Attributes:
        damping: What is added to A and S before they are inverted, as a share of their mean eigenvalue; above 0.
        context_damping: The same for A alone; None: as ``damping``.
        centred: The matrix is the partner of a constant part, of one joint step for both: contexts are taken from their
            mean, so that what all of them have in common is the constant's.

    Raises:
        InputError: If a damping is not a finite number above 0.
    """

    damping: float = 1.0
    context_damping: float | None = None
    centred: bool = False

    def __post_init__(self) -> None:
        for name in ("damping", "context_damping"):
            value = getattr(self, name)
            if value is not None and not 0 < value < torch.inf:
                raise InputError(f"steer.{name}={value}: a finite number above 0 expected")

    @property
    def on_contexts(self) -> float:
        """The damping of A."""
        return self.damping if self.context_damping is None else self.context_damping


@dataclass(frozen=True)
class Estimate:
    """``M = A^-1 G S^-1`` of one attribute, as it acts on row vectors (``h + s h M``), by its whitened directions.

    ``A^-1/2 G S^-1/2 = U diag(sizes) V^T``; ``M = (A^-1/2 U) diag(sizes) (S^-1/2 V)^T``. Half
    the squared size of a whitened matrix is, by the same approximation and but for the damping and the mean squared
    label, the KL divergence that it costs at strength 1.

    Attributes:
        context_DR: ``A^-1/2 U``, float64.
        sizes_R: Whitened singular values, falling.
        output_DR: ``S^-1/2 V``.
        own_D: ``S^-1 g / mean y^2``, the same step for a constant part alone, ``h + s b``; g is G without c.
        centre_D: What contexts are taken from: their mean if ``Step.centred``, else 0.
        null_P: The largest whitened singular value under each permutation of the labels.
    """

    context_DR: Tensor
    sizes_R: Tensor
    output_DR: Tensor
    own_D: Tensor
    centre_D: Tensor
    null_P: Tensor

    @classmethod
    def of(cls, statistics: Statistics, attribute: int = 0, step: Step | None = None) -> Estimate:
        """The estimate of an attribute.

        Raises:
            InputError: If no token has a label, or the labels are all alike.
        """
        space = Space.of(statistics, attribute, step or Step())
        pull_DD, drift_DD = statistics.pull_KDD[attribute], statistics.drift_KDD[attribute]
        square_DD = pull_DD - space.label * drift_DD
        if not square_DD.abs().sum() > 1e-5 * drift_DD.abs().sum():
            raise InputError("the labels are all alike, so there is nothing to learn from them")
        alone_D = statistics.pull_KD[attribute] - space.label * statistics.drift_KD[attribute]
        context_DR, sizes_R, output_RD = torch.linalg.svd(space.whitened(square_DD, alone_D))
        return cls(
            space.left_DD @ context_DR,
            sizes_R,
            space.right_DD @ output_RD.T,
            space.right_DD @ (space.right_DD @ alone_D) / statistics.square_K[attribute],
            space.centre_D,
            space.null(statistics),
        )

    def factors(self, rank: int | None = None) -> tuple[Tensor, Tensor]:
        """``P1`` and ``P2`` (D, R) with ``P1 P2^T = M``, of the largest ``rank`` directions; float64."""
        root_R = self.sizes_R[:rank].sqrt()
        return self.context_DR[:, :rank] * root_R, self.output_DR[:, :rank] * root_R

    def bias(self, rank: int | None = None) -> Tensor:
        """``b`` (D,) beside that matrix: ``(c - centre) M + own = c M + b``."""
        first_DR, second_DR = self.factors(rank)
        return self.own_D - (self.centre_D @ first_DR) @ second_DR.T


@dataclass(frozen=True)
class Space:
    """Where squared size is cost: ``left (G - centre g^T) right`` of an attribute; float64.

    Attributes:
        attribute: Its place among those of the sums.
        known: Labelled tokens.
        label: Mean label.
        centre_D: What contexts are taken from, see ``Estimate``.
        left_DD: ``A^-1/2``, of contexts from their centre.
        right_DD: ``S^-1/2``.
    """

    attribute: int
    known: Tensor
    label: Tensor
    centre_D: Tensor
    left_DD: Tensor
    right_DD: Tensor

    @classmethod
    def of(cls, statistics: Statistics, attribute: int, step: Step) -> Space:
        """That of the sums.

        Raises:
            InputError: If no token has a label.
        """
        known, square = statistics.known_K[attribute], statistics.square_K[attribute]
        if not known:
            raise InputError("no labelled token; texts of two tokens or more with labels are needed")
        centre_D = statistics.context_KD[attribute] / square.clamp(min=torch.finfo(torch.double).tiny)
        centre_D = centre_D if step.centred else torch.zeros_like(centre_D)
        context_DD = (statistics.context_KDD[attribute] - square * torch.outer(centre_D, centre_D)) / known
        left_DD = whitener(context_DD, step.on_contexts)
        right_DD = whitener(statistics.spread_DD / statistics.tokens, step.damping)
        return cls(attribute, known, statistics.label_K[attribute] / known, centre_D, left_DD, right_DD)

    def whitened(self, square_DD: Tensor, alone_D: Tensor) -> Tensor:
        """The sums G and g in this space."""
        found: Tensor = self.left_DD @ ((square_DD - torch.outer(self.centre_D, alone_D)) / self.known) @ self.right_DD
        return found

    def null(self, statistics: Statistics) -> Tensor:
        """The largest singular value under each permutation (P,); through float32, as the sums are."""
        single: dict[str, Any] = {name: part.float() for name, part in vars(self).items() if isinstance(part, Tensor)}
        k, space = self.attribute, replace(self, **single)
        drift_DD, drift_D = statistics.drift_KDD[k].float(), statistics.drift_KD[k].float()
        labels_P = (statistics.null_label_KP[k] / self.known).float()
        rows = zip(statistics.null_pull_KPDD[k], statistics.null_pull_KPD[k].float(), labels_P, strict=True)
        found = [
            _largest(space.whitened(pull_DD - label * drift_DD, pull_D - label * drift_D)).double()
            for pull_DD, pull_D, label in rows
        ]
        return torch.stack(found) if found else torch.zeros(0, dtype=torch.double)


def whitener(matrix_DD: Tensor, damping: float) -> Tensor:
    """``(matrix + damping * mean eigenvalue * I)^-1/2`` of a symmetric positive semidefinite matrix."""
    values_D, vectors_DD = torch.linalg.eigh(matrix_DD)
    values_D = values_D.clamp(min=0.0)
    found: Tensor = vectors_DD * (values_D + damping * values_D.mean()).rsqrt() @ vectors_DD.T
    return found


def _largest(square_DD: Tensor) -> Tensor:
    """The largest singular value; through the Gram matrix, as that is several times faster."""
    largest: Tensor = torch.linalg.eigvalsh(square_DD.T @ square_DD)[-1]
    return largest.clamp(min=0.0).sqrt()
