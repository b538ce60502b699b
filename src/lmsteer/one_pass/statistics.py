"""Sums over one pass through a labeled corpus, from which a steer is computed (docs/one_pass.md).

Shapes: B texts, T tokens of a text, N packed tokens, D width, P permutations of labels, Q weightings of texts.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lmsteer.errors import InputError

MATRIX_ELEMENTS = 2**25
"""Elements of the per-text matrices that are held at once."""
BATCHED_WEIGHTINGS = 8
"""Number of weightings from which on one matrix per text is cheaper than weighting tokens."""


@dataclass(frozen=True)
class Statistics:
    """Sums over the tokens of labeled texts; the sums of several shards of a corpus add up.

    ``h`` is a hidden state, ``d`` the gradient of the next token's log-likelihood in it, ``y`` the label of its text in
    [-1, 1]. Sums over ``d`` alone are for a bias.

    Attributes:
        tokens: Number of tokens, a tensor without axes.
        fisher_DD: Sum of the Fisher information in the hidden state (see ``LoglikGradients``).
        label_sum: Sum of y.
        label_square: Sum of y^2.
        context_DD: Sum of ``y^2 h^T h``, rows being vectors.
        context_D: Sum of ``y^2 h``.
        label_moment_DD: Sum of ``y h^T d``.
        cross_moment_DD: Sum of ``h^T d``: the gradient of the style that all texts share, whatever their labels.
        label_moment_D: Sum of ``y d``.
        cross_moment_D: Sum of ``d``.
        permuted_label_sum_P: As ``label_sum``, for permuted labels.
        permuted_moment_PD: As ``label_moment_D``, for permuted labels.
        permuted_moment_PDD: As ``label_moment_DD``, for permuted labels; float32.
    """

    tokens: Tensor
    fisher_DD: Tensor
    label_sum: Tensor
    label_square: Tensor
    context_DD: Tensor
    context_D: Tensor
    label_moment_DD: Tensor
    cross_moment_DD: Tensor
    label_moment_D: Tensor
    cross_moment_D: Tensor
    permuted_label_sum_P: Tensor
    permuted_moment_PD: Tensor
    permuted_moment_PDD: Tensor

    @classmethod
    @torch.inference_mode()
    def from_tokens(
        cls,
        hidden_ND: Tensor,
        gradient_ND: Tensor,
        lengths_B: Tensor,
        label_B: Tensor,
        *,
        fisher_DD: Tensor | None = None,
        permuted_BP: Tensor | None = None,
    ) -> Statistics:
        """Sum over some texts; the result is on the CPU.

        Args:
            lengths_B: Number of tokens of each text; the tokens are packed in the order of the texts.
            fisher_DD: Sum for these tokens; None if it is added later.
            permuted_BP: Permuted labels.
        """
        width, exact = hidden_ND.shape[1], torch.promote_types(hidden_ND.dtype, torch.float32)
        label_B = label_B.to(exact)
        permuted_BP = label_B.new_zeros(len(label_B), 0) if permuted_BP is None else permuted_BP.to(exact)
        square_N = label_B.square().repeat_interleave(lengths_B)
        h_ND, d_ND, tokens_B = hidden_ND.to(exact), gradient_ND.to(exact), lengths_B.cpu().double()
        weight_BQ = torch.cat([label_B[:, None], torch.ones_like(label_B)[:, None], permuted_BP], dim=1)
        moment_QDD = _weighted_moments(h_ND, d_ND, lengths_B, weight_BQ).cpu()
        moment_QD = (weight_BQ.T @ _sum_by_text(d_ND, lengths_B)).cpu().double()
        label_B1 = label_B.cpu().double()[:, None]
        label_sum, label_square = (tokens_B @ label_B1)[0], (tokens_B @ label_B1.square())[0]
        return cls(
            tokens=tokens_B.sum(),
            fisher_DD=torch.zeros(width, width, dtype=torch.double) if fisher_DD is None else fisher_DD,
            label_sum=label_sum,
            label_square=label_square,
            context_DD=((h_ND * square_N[:, None]).T @ h_ND).cpu().double(),
            context_D=(square_N[None] @ h_ND)[0].cpu().double(),
            label_moment_DD=moment_QDD[0].double(),
            cross_moment_DD=moment_QDD[1].double(),
            label_moment_D=moment_QD[0],
            cross_moment_D=moment_QD[1],
            permuted_label_sum_P=tokens_B @ permuted_BP.cpu().double(),
            permuted_moment_PD=moment_QD[2:],
            permuted_moment_PDD=moment_QDD[2:].float(),
        )

    @torch.inference_mode()
    def add_(self, other: Statistics) -> None:
        """Add the sums of other texts in place; those of the permutations are large.

        Raises:
            InputError: If the widths or the numbers of permutations differ.
        """
        pairs = {field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(self)}
        for name, (total, term) in pairs.items():
            if total.shape != term.shape:
                raise InputError(f"statistics of {name}: {tuple(total.shape)} and {tuple(term.shape)} do not add up")
        for total, term in pairs.values():
            total.add_(term)


def _sum_by_text(d_ND: Tensor, lengths_B: Tensor) -> Tensor:
    """Sum the tokens of each text, (B, D)."""
    text_N = torch.arange(len(lengths_B), device=d_ND.device).repeat_interleave(lengths_B.to(d_ND.device))
    return d_ND.new_zeros(len(lengths_B), d_ND.shape[1]).index_add_(0, text_N, d_ND)


def _weighted_moments(h_ND: Tensor, d_ND: Tensor, lengths_B: Tensor, weight_BQ: Tensor) -> Tensor:
    """Compute ``sum_b weight_bq sum_t h_bt^T d_bt`` (Q, D, D).

    A text has one label, so the matrix of each text is computed once and all weightings are one product over texts.
    For few weightings tokens are weighted instead.
    """
    if weight_BQ.shape[1] < BATCHED_WEIGHTINGS:
        weight_NQ = weight_BQ.repeat_interleave(lengths_B, dim=0)
        return torch.stack([(h_ND * weight_N[:, None]).T @ d_ND for weight_N in weight_NQ.unbind(-1)])
    width, lengths = h_ND.shape[1], lengths_B.tolist()
    moment_QD2 = h_ND.new_zeros(weight_BQ.shape[1], width * width)
    texts_per_block = max(1, MATRIX_ELEMENTS // width**2)
    texts = zip(h_ND.split(lengths), d_ND.split(lengths), strict=True)
    for start in range(0, len(lengths), texts_per_block):
        columns = zip(*itertools.islice(texts, texts_per_block), strict=True)
        h_BTD, d_BTD = (pad_sequence(list(column), batch_first=True) for column in columns)
        moment_QD2.addmm_(weight_BQ[start : start + texts_per_block].T, (h_BTD.mT @ d_BTD).flatten(1))
    return moment_QD2.reshape(-1, width, width)
