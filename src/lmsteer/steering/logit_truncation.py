"""Truncate a steer to a lower rank by what it changes in the logits.

Shapes: N packed tokens, D width, R rank, V vocabulary.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.steering.steer import Steer, product


@torch.no_grad()
def truncate_logits(steer: Steer, head: Head, rank: int) -> tuple[Steer, dict[str, float]]:
    """Return the steer of a lower rank whose change of the output embeddings is nearest, and the share that it keeps.

    With ``W = P1 P2^T``, the embeddings change by ``epsilon v E W^T``. Its best approximation of a rank (Eckart and
    Young) keeps the right singular vectors ``V`` (D, R) of the largest singular values, so ``W`` becomes ``V V^T W``.
    ``Steer.truncated`` approximates ``W`` itself, and knows no words.

    Args:
        rank: Number of singular values to keep for each dimension, in [1, D].

    Returns:
        The steer, on the CPU, its biases unchanged; and by dimension the share of the squared Frobenius norm of the
        change that is left, 1 for a matrix that is zero.

    Raises:
        InputError: If the rank is out of its range.

    Example:
        >>> from lmsteer.models.random_models import tiny
        >>> cut, shares = truncate_logits(Steer(32, dimensions=["tone"], rank=8), tiny().head, 8)
        >>> cut.rank, round(shares["tone"], 6)
        (8, 1.0)
    """
    if not 1 <= rank <= steer.width:
        raise InputError(f"rank={rank}: an integer in [1, {steer.width}] expected")
    embeddings_VD = head.weight[: head.vocabulary].cpu().double()
    gram_DD, factors, shares = embeddings_VD.T @ embeddings_VD, {}, {}
    for k, name in enumerate(steer.dimensions):
        p1, p2 = steer.factors(k)
        matrix_DD = product((p1.cpu().double(), None if p2 is None else p2.cpu().double()))
        squares_D, vectors_DD = torch.linalg.eigh(matrix_DD @ gram_DD @ matrix_DD.T)  # in ascending order
        v_DR = vectors_DD[:, -rank:].flip(-1)
        factors[name] = v_DR.float(), (matrix_DD.T @ v_DR).float()
        shares[name] = float(squares_D[-rank:].sum() / squares_D.sum()) if squares_D.sum() > 0 else 1.0
    biases = None if steer.bias is None else dict(zip(steer.dimensions, steer.bias.detach().cpu(), strict=True))
    return Steer.from_factors(factors, epsilon=steer.epsilon, biases=biases), shares


@torch.no_grad()
def logit_errors(steer: Steer, cut: Steer, head: Head, hidden_ND: Tensor) -> Mapping[str, float]:
    """Return by dimension the largest difference of a logit between two steers at strength 1, before a soft-cap.

    Args:
        hidden_ND: Hidden states of the plain model.
    """
    return {
        name: float((steer.delta_logits(head, hidden_ND, k) - cut.delta_logits(head, hidden_ND, k)).abs().max())
        for k, name in enumerate(steer.dimensions)
    }
