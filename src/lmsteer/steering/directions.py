"""Singular directions of a steer, and their evidence in texts.

Shapes: N packed tokens, D width, R directions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

NEGLIGIBLE = 1e-9
"""Singular values below this share of the largest are rounding errors, for instance of zero columns."""


@dataclass(frozen=True)
class Directions:
    """Singular value decomposition of one matrix of a steer, ``P1 P2^T = sum_i sizes_i v_i u_i^T``, largest first.

    At strength s the logit of word w changes by ``s epsilon sum_i sizes_i (c . v_i) (u_i . e_w)`` in context c: ``v_i``
    says where direction i acts, ``u_i`` which words it raises there. Changing the signs of both changes nothing. (The
    words in Han et al., 2024, are those of the right singular vectors of ``P1 P2^T``, the ``u_i``.)

    Attributes:
        output_DR: Orthonormal columns u_i.
        sizes_R: Singular values, above 0, in descending order.
        context_DR: Orthonormal columns v_i.
        epsilon: Epsilon of the steer.
    """

    output_DR: Tensor
    sizes_R: Tensor
    context_DR: Tensor
    epsilon: float

    @classmethod
    @torch.no_grad()
    def of(cls, p1: Tensor, p2: Tensor | None, *, epsilon: float) -> Directions:
        """Decompose ``P1 P2^T`` through its factors, so that a low-rank matrix never becomes D x D.

        Args:
            p2: None where ``p1`` is the product itself.

        Raises:
            ValueError: If the matrix is zero.
        """
        p1 = p1.cpu().double()
        if p2 is None:
            context_DR, sizes_R, output_RD = torch.linalg.svd(p1, full_matrices=False)
            output_DR = output_RD.T
        else:
            qr_1, qr_2 = torch.linalg.qr(p1), torch.linalg.qr(p2.cpu().double())
            left_RR, sizes_R, right_RR = torch.linalg.svd(qr_1.R @ qr_2.R.T)
            context_DR, output_DR = qr_1.Q @ left_RR, qr_2.Q @ right_RR.T
        rank = int((sizes_R > NEGLIGIBLE * sizes_R[:1]).sum())
        if not rank:
            raise ValueError("its matrix is zero, there is nothing to read")
        return cls(output_DR[:, :rank], sizes_R[:rank], context_DR[:, :rank], epsilon)

    def factors(self, rank: int | None = None) -> tuple[Tensor, Tensor]:
        """Return P1 and P2 (D, rank) of the largest directions, each with the root of the singular values; float32."""
        root_R = self.sizes_R[:rank].sqrt()
        return (self.context_DR[:, :rank] * root_R).float(), (self.output_DR[:, :rank] * root_R).float()

    def rank_holding(self, energy: float) -> int:
        """Return how many of the largest directions hold a share of the energy, in (0, 1]."""
        return int((self.energy_R.cumsum(0) < energy * self.energy_R.sum()).sum()) + 1

    @property
    def energy_R(self) -> Tensor:
        """Share (R,) of each direction in the squared Frobenius norm of W; the shares add up to 1."""
        squares_R = self.sizes_R.square()
        return squares_R / squares_R.sum()

    def turned(self, signs_R: Tensor) -> Directions:
        """Return the same W with both vectors of each direction multiplied by a sign, 1 or -1."""
        return replace(self, output_DR=self.output_DR * signs_R, context_DR=self.context_DR * signs_R)

    def activations(self, hidden_ND: Tensor) -> Tensor:
        """Return ``c . v_i`` (N, R), the component of each context along each direction."""
        return hidden_ND @ self.context_DR.to(hidden_ND)

    def evidence(self, hidden_ND: Tensor, gradient_ND: Tensor) -> Tensor:
        """Return the derivative (N, R) of each target's log-probability in the strength, by direction, at strength 0.

        It is ``epsilon sizes_i (c . v_i) (u_i . gradient)``, in nats per unit of strength. The sum over directions and
        the tokens of a text is the derivative of the text's log-likelihood.

        Args:
            hidden_ND: Hidden states c of the plain model.
            gradient_ND: ``loglik_gradient`` of the same tokens.
        """
        gain_NR = self.activations(hidden_ND) * (gradient_ND @ self.output_DR.to(gradient_ND))
        return gain_NR * (self.epsilon * self.sizes_R.to(gain_NR))

    def shift(self, mean_D: Tensor) -> Tensor:
        """Return ``epsilon W c`` (D,), the shift of a mean context at strength 1 by all directions together."""
        return self.output_DR.to(mean_D) @ (self.activations(mean_D[None])[0] * self.sizes_R.to(mean_D)) * self.epsilon


def randomized(directions: Directions, seed: int) -> Directions:
    """Return random directions with the same singular values: a steer that learned only its size."""
    noise = torch.Generator().manual_seed(seed)
    output, context = (torch.randn(directions.output_DR.shape, generator=noise, dtype=torch.double) for _ in range(2))
    return replace(directions, output_DR=torch.linalg.qr(output).Q, context_DR=torch.linalg.qr(context).Q)


def effective_rank(energy_R: Tensor) -> float:
    """Return ``exp`` of the entropy of the energy, R for R equal directions (Roy and Vetterli, 2007, on squares)."""
    return float(torch.special.entr(energy_R).sum().exp())


def participation_ratio(energy_R: Tensor) -> float:
    """Return ``1 / sum energy^2``, an effective rank in which small directions count less."""
    return float(1 / energy_R.square().sum())


def directions_holding(energy_R: Tensor, share: float) -> int:
    """Return how many of the largest directions hold a share of the energy, in (0, 1)."""
    return int((energy_R.cumsum(0) < share).sum()) + 1
