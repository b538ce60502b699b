"""Gradients of the log-likelihood in the hidden state, and their Fisher information.

Shapes: N packed tokens, D width, V vocabulary, C a block of the vocabulary.
"""

import torch
from torch import Tensor

from lmsteer.models.cross_entropy import exp_, softcap_slope
from lmsteer.models.head import Head

CPU_TOKENS, GPU_TOKENS = 256, 512
"""Tokens per block; their probabilities are held for the whole vocabulary."""
CPU_VOCAB_BLOCK, VOCAB_BLOCK = 4096, 32768
"""Embeddings per block."""


class LoglikGradients:
    """Gradients ``d = j_y - mean j`` of tokens, and the Fisher information ``Cov_p(j)`` summed over all of them.

    ``j_v`` is the gradient of token v's logit in the hidden state: its embedding times the scale of the head, and times
    the slope of a soft-cap at that logit. Mean and covariance are those of the plain model's own next-token
    distribution p, exact over all tokens of the tokenizer. So ``d`` is the gradient of the log-likelihood in the hidden
    state, and ``Cov_p(j)`` its Fisher information.

    Attributes:
        tokens: Number of tokens so far.
    """

    def __init__(self, head: Head) -> None:
        self.head, self.tokens = head, 0
        # Sums over tokens: of p_v times the squared slope, and of the outer product of the mean.
        self._mass_V = torch.zeros(head.vocabulary, dtype=torch.double)
        self._outer_DD = torch.zeros(head.weight.shape[1], head.weight.shape[1], dtype=torch.double)

    @torch.inference_mode()
    def __call__(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Return the gradients (N, D) in plain hidden states, in their dtype; add their Fisher information."""
        block = CPU_TOKENS if hidden_ND.device.type == "cpu" else GPU_TOKENS
        blocks = zip(hidden_ND.split(block), targets_N.split(block), strict=True)
        gradients = [self._add_block(*tensors) for tensors in blocks]
        self.tokens += len(targets_N)
        return torch.cat(gradients).to(hidden_ND.dtype) if gradients else hidden_ND[:0]

    def fisher(self) -> Tensor:
        """Return the sum (D, D) of ``Cov_p(j)``, ``E^T diag(sum p) E - sum mean mean^T``; float64 on the CPU."""
        total_DD = -self._outer_DD
        for start in range(0, self.head.vocabulary, VOCAB_BLOCK):
            columns = slice(start, min(start + VOCAB_BLOCK, self.head.vocabulary))
            weight_CD = self.head.weight[columns].cpu().float()
            total_DD += (weight_CD.T @ (weight_CD * self._mass_V[columns, None].float())).double()
        return total_DD

    def _add_block(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Compute gradients with a running maximum and a running sum, as ``nll`` does."""
        head, hidden_ND = self.head, hidden_ND.to(self.head.weight.dtype)
        exact = torch.promote_types(hidden_ND.dtype, torch.float32)
        max_N = torch.full(targets_N.shape, -torch.inf, dtype=exact, device=targets_N.device)
        sum_N, target_N = torch.zeros_like(max_N), torch.zeros_like(max_N)
        mean_ND = torch.zeros(hidden_ND.shape, dtype=exact, device=targets_N.device)
        blocks: list[tuple[slice, Tensor, Tensor]] = []
        width = CPU_VOCAB_BLOCK if hidden_ND.device.type == "cpu" else VOCAB_BLOCK
        for start in range(0, head.vocabulary, width):
            columns = slice(start, min(start + width, head.vocabulary))
            logits_NC = head.logits(hidden_ND, columns)
            index_N = (targets_N - start).clamp(0, logits_NC.shape[1] - 1)
            target_N = torch.where(index_N == targets_N - start, logits_NC.gather(1, index_N[:, None])[:, 0], target_N)
            new_max_N = torch.maximum(max_N, logits_NC.amax(-1))
            decay_N, max_N = exp_(max_N - new_max_N), new_max_N
            slope_NC = softcap_slope(head, logits_NC)
            weights_NC = exp_(logits_NC.sub_(max_N[:, None]))
            sum_N = sum_N * decay_N + weights_NC.sum(-1)
            sloped_NC = weights_NC if slope_NC is None else weights_NC * slope_NC
            mean_ND.mul_(decay_N[:, None]).add_(sloped_NC.to(hidden_ND.dtype) @ head.weight[columns])
            blocks.append((columns, weights_NC if slope_NC is None else sloped_NC.mul_(slope_NC), max_N))
        mean_ND.mul_(head.scale / sum_N[:, None])
        for columns, weights_NC, block_max_N in blocks:
            factor_N = exp_(block_max_N - max_N) / sum_N
            self._mass_V[columns] += head.scale**2 * (factor_N[None] @ weights_NC)[0].cpu().double()
        self._outer_DD += (mean_ND.T @ mean_ND).cpu().double()
        slope_N = softcap_slope(head, target_N)
        target_ND = head.scale * head.weight[targets_N].to(exact)
        return (target_ND if slope_N is None else target_ND * slope_N[:, None]) - mean_ND
