"""KL divergence of the steered model from the plain one, per token.

Shapes: N packed tokens, D width, V vocabulary, C a block of the vocabulary.
"""

import torch
from torch import Tensor

from lmsteer.models.cross_entropy import exp_
from lmsteer.models.head import Head

COLUMNS = 4096
TOKENS = 1024
"""Size of a block of logits in memory."""


@torch.inference_mode()
def divergence(head: Head, steered_ND: Tensor, hidden_ND: Tensor) -> Tensor:
    """Return KL(steered || plain) of the next-token distributions (N,), in nats.

    Both distributions are computed block by block with running sums, as in ``nll``; padded rows of the vocabulary do
    not count.

    Args:
        steered_ND: The steered hidden states.
        hidden_ND: Hidden states of the plain model.
    """
    blocks = zip(steered_ND.split(TOKENS), hidden_ND.split(TOKENS), strict=True)
    return torch.cat([_divergence(head, steered, plain) for steered, plain in blocks])


def _divergence(head: Head, steered_ND: Tensor, plain_ND: Tensor) -> Tensor:
    """Return ``log Z_plain - log Z_steered + E_steered[steered logit - plain logit]``."""
    steered_ND, plain_ND = (x.to(head.weight.dtype) for x in (steered_ND, plain_ND))
    top_N = steered_ND.new_full((len(steered_ND),), -torch.inf, dtype=torch.float32)
    plain_top_N, sum_N, plain_sum_N, gain_N = top_N, *(torch.zeros_like(top_N) for _ in range(3))
    for start in range(0, head.vocabulary, COLUMNS):
        columns = slice(start, min(start + COLUMNS, head.vocabulary))
        logits_NC, plain_NC = head.logits(steered_ND, columns), head.logits(plain_ND, columns)
        higher_N = torch.maximum(top_N, logits_NC.amax(-1))
        weights_NC = exp_(logits_NC - higher_N[:, None])
        fading_N = (top_N - higher_N).exp()
        gain_N = gain_N * fading_N + (weights_NC * (logits_NC - plain_NC)).sum(-1)
        sum_N, top_N = sum_N * fading_N + weights_NC.sum(-1), higher_N
        higher_N = torch.maximum(plain_top_N, plain_NC.amax(-1))
        plain_sum_N = plain_sum_N * (plain_top_N - higher_N).exp() + exp_(plain_NC - higher_N[:, None]).sum(-1)
        plain_top_N = higher_N
    log_ratio_N = plain_top_N + plain_sum_N.log() - top_N - sum_N.log()
    return (log_ratio_N + gain_N / sum_N).clamp(min=0.0)
