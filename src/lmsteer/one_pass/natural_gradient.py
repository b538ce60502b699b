"""A natural-gradient step from the zero steer, computed from the sums over one pass (docs/one_pass.md).

Shapes: D width, P permutations of labels, R directions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.one_pass.one_pass_solver import StepConfig
from lmsteer.one_pass.statistics import Statistics


@dataclass(frozen=True)
class Estimate:
    """The matrix ``M = A^-1 G S^-1`` of row vectors (``h + v h M``), by its whitened directions.

    ``A^-1/2 G S^-1/2 = U diag(singular values) V^T``, so ``M = (A^-1/2 U) diag(singular values) (S^-1/2 V)^T``. By the
    same approximation, and up to the damping and the mean squared label, half the squared Frobenius norm of a whitened
    matrix is its KL divergence at strength 1.

    Attributes:
        context_DR: ``A^-1/2 U``, float64.
        singular_values_R: Whitened singular values, falling.
        output_DR: ``S^-1/2 V``.
        constant_D: ``S^-1 g / mean y^2``, the same step for a bias alone, ``h + v b``; g is G without h.
        center_D: The mean context if ``StepConfig.centered``, else 0.
        null_P: The largest whitened singular value under each permutation of the labels.
    """

    context_DR: Tensor
    singular_values_R: Tensor
    output_DR: Tensor
    constant_D: Tensor
    center_D: Tensor
    null_P: Tensor

    @classmethod
    def from_statistics(cls, statistics: Statistics, step: StepConfig | None = None) -> Estimate:
        """Compute the estimate from sums over a corpus.

        Raises:
            InputError: If all labels are the same.
        """
        space = WhitenedSpace.from_statistics(statistics, step or StepConfig())
        cross_DD = statistics.cross_moment_DD
        gradient_DD = statistics.label_moment_DD - space.mean_label * cross_DD
        if not gradient_DD.abs().sum() > 1e-5 * cross_DD.abs().sum():
            raise InputError("the labels are all the same, so there is nothing to learn from them")
        gradient_D = statistics.label_moment_D - space.mean_label * statistics.cross_moment_D
        context_DR, singular_values_R, output_RD = torch.linalg.svd(space.whiten(gradient_DD, gradient_D))
        return cls(
            space.context_root_DD @ context_DR,
            singular_values_R,
            space.fisher_root_DD @ output_RD.T,
            space.fisher_root_DD @ (space.fisher_root_DD @ gradient_D) / statistics.label_square,
            space.center_D,
            space.null_distribution(statistics),
        )

    def factors(self, rank: int | None = None) -> tuple[Tensor, Tensor]:
        """Return ``P1`` and ``P2`` (D, R) with ``P1 P2^T = M``, of the largest ``rank`` directions; float64."""
        root_R = self.singular_values_R[:rank].sqrt()
        return self.context_DR[:, :rank] * root_R, self.output_DR[:, :rank] * root_R

    def bias(self, rank: int | None = None) -> Tensor:
        """Return the bias ``b`` (D,) to go with that matrix: ``(h - center) M + constant = h M + b``."""
        p1_DR, p2_DR = self.factors(rank)
        return self.constant_D - (self.center_D @ p1_DR) @ p2_DR.T


@dataclass(frozen=True)
class WhitenedSpace:
    """The space in which half the squared norm of a matrix is its KL divergence; float64.

    Attributes:
        tokens: Number of tokens.
        mean_label: Mean label of the tokens.
        center_D: See ``Estimate``.
        context_root_DD: ``A^-1/2``, of contexts from their center.
        fisher_root_DD: ``S^-1/2``.
    """

    tokens: Tensor
    mean_label: Tensor
    center_D: Tensor
    context_root_DD: Tensor
    fisher_root_DD: Tensor

    @classmethod
    def from_statistics(cls, statistics: Statistics, step: StepConfig) -> WhitenedSpace:
        """Compute both inverse roots from sums over a corpus."""
        tokens, square = statistics.tokens, statistics.label_square
        center_D = statistics.context_D / square.clamp(min=torch.finfo(torch.double).tiny)
        center_D = center_D if step.centered else torch.zeros_like(center_D)
        context_DD = (statistics.context_DD - square * torch.outer(center_D, center_D)) / tokens
        context_damping = step.damping if step.context_damping is None else step.context_damping
        context_root_DD = inverse_root(context_DD, context_damping)
        fisher_root_DD = inverse_root(statistics.fisher_DD / tokens, step.damping)
        return cls(tokens, statistics.label_sum / tokens, center_D, context_root_DD, fisher_root_DD)

    def whiten(self, gradient_DD: Tensor, gradient_D: Tensor) -> Tensor:
        """Return ``A^-1/2 (G - center^T g) S^-1/2`` for the sums G (D, D) and g (D,)."""
        mean_DD = (gradient_DD - torch.outer(self.center_D, gradient_D)) / self.tokens
        whitened_DD: Tensor = self.context_root_DD @ mean_DD @ self.fisher_root_DD
        return whitened_DD

    def null_distribution(self, statistics: Statistics) -> Tensor:
        """Return the largest singular value under each permutation (P,); computed in float32, as the sums are."""
        single: dict[str, Any] = {name: tensor.float() for name, tensor in vars(self).items()}
        space, cross_DD, cross_D = (
            replace(self, **single),
            statistics.cross_moment_DD.float(),
            statistics.cross_moment_D.float(),
        )
        mean_label_P = (statistics.permuted_label_sum_P / self.tokens).float()
        moments = zip(statistics.permuted_moment_PDD, statistics.permuted_moment_PD.float(), mean_label_P, strict=True)
        largest = [
            _largest_singular_value(space.whiten(m_DD - label * cross_DD, m_D - label * cross_D)).double()
            for m_DD, m_D, label in moments
        ]
        return torch.stack(largest) if largest else torch.zeros(0, dtype=torch.double)


def inverse_root(matrix_DD: Tensor, damping: float) -> Tensor:
    """Return ``(matrix + damping * mean eigenvalue * I)^-1/2`` of a symmetric positive semidefinite matrix."""
    values_D, vectors_DD = torch.linalg.eigh(matrix_DD)
    values_D = values_D.clamp(min=0.0)
    root_DD: Tensor = vectors_DD * (values_D + damping * values_D.mean()).rsqrt() @ vectors_DD.T
    return root_DD


def _largest_singular_value(matrix_DD: Tensor) -> Tensor:
    """Compute it by the Gram matrix, which is several times faster than a decomposition."""
    largest: Tensor = torch.linalg.eigvalsh(matrix_DD.T @ matrix_DD)[-1]
    return largest.clamp(min=0.0).sqrt()
