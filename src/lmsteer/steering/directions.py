"""A steer taken apart: its singular directions, the words on either side of them, and their evidence in texts.

Shapes: N packed tokens, D width, R directions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.steering.steer import Steer

NEGLIGIBLE = 1e-9
"""Singular values below this share of the largest are rounding errors, as of columns of zeros."""


@dataclass(frozen=True)
class Directions:
    """``W = sum_i sizes_i u_i v_i^T``, one dimension of a steer, its largest singular value first.

    At strength s the logit of word w changes by ``s epsilon sum_i sizes_i (c . v_i) (u_i . e_w)`` in context c: ``v_i``
    says where direction i acts, ``u_i`` which words it raises there. If both turn their signs, nothing changes. (The
    reference implementation of Han et al., 2024, decomposes ``P1 P2^T``, the transpose of W, and names words by its
    right singular vectors: these are the ``u_i``.)

    Attributes:
        output_DR: Orthonormal columns u_i.
        sizes_R: Singular values, above 0, falling.
        context_DR: Orthonormal columns v_i.
        epsilon: That of the steer.
    """

    output_DR: Tensor
    sizes_R: Tensor
    context_DR: Tensor
    epsilon: float

    @property
    def energy_R(self) -> Tensor:
        """Share of each direction in the squared Frobenius norm of W; they add up to 1."""
        squares_R = self.sizes_R.square()
        return squares_R / squares_R.sum()

    def turned(self, signs_R: Tensor) -> Directions:
        """The same W, with both vectors of a direction multiplied by its sign, 1 or -1."""
        return replace(self, output_DR=self.output_DR * signs_R, context_DR=self.context_DR * signs_R)

    def activations(self, hidden_ND: Tensor) -> Tensor:
        """``c . v_i`` (N, R): how far each context lies along each direction."""
        return hidden_ND @ self.context_DR.to(hidden_ND)

    def evidence(self, hidden_ND: Tensor, pull_ND: Tensor) -> Tensor:
        """Nats per unit of strength (N, R) that each direction adds to the log-probability of each target, at first.

        It is ``epsilon sizes_i (c . v_i) (u_i . pull)``. Its sum over directions and the tokens of a text is the
        derivative of the text's log-likelihood in the strength, at strength 0.

        Args:
            hidden_ND: Hidden states c of the plain model.
            pull_ND: ``pull`` of the same tokens.
        """
        gain_NR = self.activations(hidden_ND) * (pull_ND @ self.output_DR.to(pull_ND))
        return gain_NR * (self.epsilon * self.sizes_R.to(gain_NR))

    def shift(self, mean_D: Tensor) -> Tensor:
        """``epsilon W c`` (D,) of a mean context: what all directions together add to it at strength 1."""
        return self.output_DR.to(mean_D) @ (self.activations(mean_D[None])[0] * self.sizes_R.to(mean_D)) * self.epsilon


@torch.no_grad()
def directions(steer: Steer, dimension: int) -> Directions:
    """The singular value decomposition of ``W_k``, through its factors: a low-rank one never becomes a D x D matrix.

    Raises:
        InputError: If W is zero.
    """
    first_DR = steer.first[dimension].detach().cpu().double()
    if steer.second is None:  # first is P1 P2^T itself
        context_DR, sizes_R, output_RD = torch.linalg.svd(first_DR, full_matrices=False)
        output_DR = output_RD.T
    else:
        first, second = (torch.linalg.qr(x) for x in (first_DR, steer.second[dimension].detach().cpu().double()))
        left_RR, sizes_R, right_RR = torch.linalg.svd(first.R @ second.R.T)
        context_DR, output_DR = first.Q @ left_RR, second.Q @ right_RR.T
    rank = int((sizes_R > NEGLIGIBLE * sizes_R[:1]).sum())
    if not rank:
        raise InputError(f"dimension {steer.dimensions[dimension]}: its matrix is zero, there is nothing to read")
    return Directions(output_DR[:, :rank], sizes_R[:rank], context_DR[:, :rank], steer.epsilon)


def randomized(found: Directions, seed: int) -> Directions:
    """A random W of the same singular values: what a steer would look like that learned nothing but its size."""
    noise = torch.Generator().manual_seed(seed)
    output, context = (torch.randn(found.output_DR.shape, generator=noise, dtype=torch.double) for _ in range(2))
    return replace(found, output_DR=torch.linalg.qr(output).Q, context_DR=torch.linalg.qr(context).Q)


def effective_rank(energy_R: Tensor) -> float:
    """``exp`` of the entropy of the energy: R directions of one size count R (Roy and Vetterli, 2007, on squares)."""
    return float(torch.special.entr(energy_R).sum().exp())


def participation_ratio(energy_R: Tensor) -> float:
    """``1 / sum energy^2``: as the effective rank, but small directions count less."""
    return float(1 / energy_R.square().sum())


def directions_holding(energy_R: Tensor, share: float) -> int:
    """How many of the largest directions hold a share of the energy, in (0, 1)."""
    return int((energy_R.cumsum(0) < share).sum()) + 1


def pull(head: Head, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
    """Gradient (N, D) of each target's log-probability in the hidden state before it; at least float32.

    It is ``scale (e_y - mean e)``: the embedding of the word that came, less the mean embedding under the model's own
    next-token distribution, over the whole vocabulary, which is gone through in blocks.
    """
    exact_ND = hidden_ND.detach().to(torch.promote_types(hidden_ND.dtype, torch.float32)).requires_grad_()
    with torch.enable_grad():
        nats_N = head.nats(exact_ND, targets_N)
    (gradient_ND,) = torch.autograd.grad(nats_N.sum(), exact_ND)
    return -gradient_ND


@torch.no_grad()
def projections(head: Head, side_DR: Tensor, centre_D: Tensor) -> Tensor:
    """``scale (e_w - centre) . side`` (V, R) of every token that the tokenizer knows, in float32 on the CPU.

    A softmax sees differences alone, so a logit means something only beside others: ``centre_D`` is the embedding whose
    words count as neither raised nor lowered.
    """
    weight_VD = head.weight[: head.vocabulary]
    side_DR = side_DR.to(weight_VD.device, torch.float32)
    parts = [(part.float() - centre_D.to(side_DR)) @ side_DR for part in weight_VD.split(8192)]
    return (torch.cat(parts) * head.scale).cpu()
