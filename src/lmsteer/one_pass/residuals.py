"""What the next token adds to what the model expected, and how far its expectation is spread.

Shapes: N packed tokens, D width, V vocabulary, C a block of the vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmsteer.models.cross_entropy import exp_
from lmsteer.models.head import Head

TOKENS = {"cpu": 256}
MANY_TOKENS = 512
"""Tokens gone through at once, by device; their probabilities are held for the whole vocabulary."""
COLUMNS = {"cpu": 4096}
WIDE = 32768
"""Embeddings gone through at once, by device."""


class Residuals:
    """Residuals ``d = j_y - mean j`` of tokens, and the sum of the spreads ``Cov_p(j)`` of those gone through so far.

    ``j_v`` is the gradient of token v's logit in the hidden state: its embedding times the scale of the head, and times
    the slope of a soft-cap at that logit. Mean and covariance are those of the plain model's own next-token
    distribution p, exact over all tokens that the tokenizer knows. So ``d`` is the gradient of the log-likelihood in
    the hidden state, and ``Cov_p(j)`` its Fisher information.

    Attributes:
        tokens: How many were gone through.
    """

    def __init__(self, head: Head) -> None:
        self.head, self.tokens = head, 0
        # Sums over tokens: of p_v times the squared slope, and of the outer product of the mean.
        self._mass_V = torch.zeros(head.vocabulary, dtype=torch.double)
        self._outer_DD = torch.zeros(head.weight.shape[1], head.weight.shape[1], dtype=torch.double)

    @torch.inference_mode()
    def __call__(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Residuals (N, D) of the targets behind plain hidden states, in the dtype of these; their spread is added."""
        at_once = TOKENS.get(hidden_ND.device.type, MANY_TOKENS)
        parts = zip(hidden_ND.split(at_once), targets_N.split(at_once), strict=True)
        found = [self._part(*part) for part in parts]
        self.tokens += len(targets_N)
        return torch.cat(found).to(hidden_ND.dtype) if found else hidden_ND[:0]

    def spread(self) -> Tensor:
        """Sum (D, D) of ``Cov_p(j)`` so far, ``E^T diag(sum p) E - sum mean mean^T``; float64 on the CPU."""
        total_DD = -self._outer_DD
        for start in range(0, self.head.vocabulary, WIDE):
            columns = slice(start, min(start + WIDE, self.head.vocabulary))
            weight_CD = self.head.weight[columns].cpu().float()
            total_DD += (weight_CD.T @ (weight_CD * self._mass_V[columns, None].float())).double()
        return total_DD

    def _part(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """As in ``nll``, with a running maximum and a running sum."""
        head, hidden_ND = self.head, hidden_ND.to(self.head.weight.dtype)
        exact = torch.promote_types(hidden_ND.dtype, torch.float32)
        top_N = torch.full(targets_N.shape, -torch.inf, dtype=exact, device=targets_N.device)
        sum_N, target_N = torch.zeros_like(top_N), torch.zeros_like(top_N)
        mean_ND = torch.zeros(hidden_ND.shape, dtype=exact, device=targets_N.device)
        blocks: list[tuple[slice, Tensor, Tensor]] = []
        width = COLUMNS.get(hidden_ND.device.type, WIDE)
        for start in range(0, head.vocabulary, width):
            columns = slice(start, min(start + width, head.vocabulary))
            logits_NC = head.logits(hidden_ND, columns)
            place_N = (targets_N - start).clamp(0, logits_NC.shape[1] - 1)
            target_N = torch.where(place_N == targets_N - start, logits_NC.gather(1, place_N[:, None])[:, 0], target_N)
            higher_N = torch.maximum(top_N, logits_NC.amax(-1))
            fading_N, top_N = exp_(top_N - higher_N), higher_N
            slope_NC = _slope(head, logits_NC)
            weights_NC = exp_(logits_NC.sub_(top_N[:, None]))
            sum_N = sum_N * fading_N + weights_NC.sum(-1)
            pulls_NC = weights_NC if slope_NC is None else weights_NC * slope_NC
            mean_ND.mul_(fading_N[:, None]).add_(pulls_NC.to(hidden_ND.dtype) @ head.weight[columns])
            blocks.append((columns, weights_NC if slope_NC is None else pulls_NC.mul_(slope_NC), top_N))
        mean_ND.mul_(head.scale / sum_N[:, None])
        for columns, weights_NC, then_N in blocks:
            share_N = exp_(then_N - top_N) / sum_N
            self._mass_V[columns] += head.scale**2 * (share_N[None] @ weights_NC)[0].cpu().double()
        self._outer_DD += (mean_ND.T @ mean_ND).cpu().double()
        slope_N = _slope(head, target_N)
        own_ND = head.scale * head.weight[targets_N].to(exact)
        return (own_ND if slope_N is None else own_ND * slope_N[:, None]) - mean_ND


def _slope(head: Head, logits: Tensor) -> Tensor | None:
    """Derivative of the soft-cap, from the capped logits."""
    return None if head.softcap is None else 1 - (logits / head.softcap).square()
