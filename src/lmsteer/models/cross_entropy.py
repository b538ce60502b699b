"""Cross-entropy under a head, without all of its logits in memory.

Shapes: N packed tokens, D width, V vocabulary, C a block of the vocabulary.
"""

import math
from typing import Any, cast

import torch
from torch import Tensor

from lmsteer.models.head import Head

TOKENS = 1024
COLUMNS = {"cpu": 3072}
VOCAB_BLOCK = 32768
"""Size of the blocks of logits: tokens, and embeddings by device. They should fit into the cache of a CPU: of 1024 to
24576 columns, 2048 to 4096 were fastest on two cores."""


def exp_(x: Tensor) -> Tensor:
    """Compute ``exp`` in place through ``exp2``: torch's float32 ``exp`` uses MKL, which is much slower on AMD."""
    return x.mul_(math.log2(math.e)).exp2_()


def nll(head: Head, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
    """Return the cross-entropy (N,) of each target in nats, differentiable in ``hidden_ND``.

    The embeddings are processed in blocks with a running maximum and a running sum, as in online softmax (Milakov and
    Gimelshein, 2018). The gradient ``(softmax - onehot) E`` is accumulated in the same pass, so that the backward pass
    is free and no block is computed twice.
    """
    needs_grad = torch.is_grad_enabled() and hidden_ND.requires_grad
    return cast(Tensor, _CrossEntropy.apply(hidden_ND, targets_N, head, needs_grad))  # type: ignore[no-untyped-call]


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, targets_N: Tensor, head: Head, needs_grad: bool) -> Tensor:
        hidden_ND = hidden_ND.detach()
        blocks = zip(hidden_ND.split(TOKENS), targets_N.split(TOKENS), strict=True)
        nats, gradients = zip(
            *(_nll_and_gradient(head, *block, needs_grad=needs_grad) for block in blocks), strict=True
        )
        if needs_grad:
            ctx.save_for_backward(torch.cat(gradients))
            ctx.dtype = hidden_ND.dtype
        return torch.cat(nats)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient_ND,) = ctx.saved_tensors
        return (gradient_ND * grad_outputs[0][:, None]).to(ctx.dtype), None, None, None


def _nll_and_gradient(head: Head, hidden_ND: Tensor, targets_N: Tensor, *, needs_grad: bool) -> tuple[Tensor, Tensor]:
    """Return the nats (N,) and their gradient (N, D) in float32, which is empty without ``needs_grad``."""
    hidden_ND = hidden_ND.to(head.weight.dtype)
    exact = torch.promote_types(hidden_ND.dtype, torch.float32)
    top_N = torch.full(targets_N.shape, -torch.inf, dtype=exact, device=targets_N.device)
    sum_N, target_N = torch.zeros_like(top_N), torch.zeros_like(top_N)
    gradient_ND = torch.zeros(hidden_ND.shape, dtype=exact, device=targets_N.device) if needs_grad else top_N[:0]
    width = COLUMNS.get(hidden_ND.device.type, VOCAB_BLOCK)
    for start in range(0, len(head.weight), width):
        columns = slice(start, start + width)
        logits_NC = head.logits(hidden_ND, columns)
        column_N = (targets_N - start).clamp(0, logits_NC.shape[1] - 1)
        logit_N = logits_NC.gather(1, column_N[:, None])[:, 0]
        target_N = torch.where(column_N == targets_N - start, logit_N, target_N)
        higher_N = torch.maximum(top_N, logits_NC.amax(-1))
        fading_N, top_N = exp_(top_N - higher_N), higher_N
        slope_NC = softcap_slope(head, logits_NC) if needs_grad else None
        weights_NC = exp_(logits_NC.sub_(top_N[:, None]))
        sum_N = sum_N * fading_N + weights_NC.sum(-1)
        if needs_grad:
            weights_NC = weights_NC if slope_NC is None else weights_NC * slope_NC
            gradient_ND.mul_(fading_N[:, None]).add_(weights_NC.to(hidden_ND.dtype) @ head.weight[columns])
    if needs_grad:
        slope_N = softcap_slope(head, target_N)
        target_ND = head.weight[targets_N].to(exact)
        target_ND = target_ND if slope_N is None else target_ND * slope_N[:, None]
        gradient_ND.div_(sum_N[:, None]).sub_(target_ND).mul_(head.scale)
    return top_N + sum_N.log() - target_N, gradient_ND


def softcap_slope(head: Head, logits: Tensor) -> Tensor | None:
    """Return the derivative of the soft-cap, from the capped logits; None without a soft-cap."""
    return None if head.softcap is None else 1 - (logits / head.softcap).square()


def loglik_gradient(head: Head, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
    """Return the gradient (N, D) of each target's log-probability in the hidden state before it; at least float32.

    It is ``scale (e_y - mean e)``: the embedding of the target minus the mean embedding under the model's next-token
    distribution, over the whole vocabulary, which is processed in blocks.
    """
    exact_ND = hidden_ND.detach().to(torch.promote_types(hidden_ND.dtype, torch.float32)).requires_grad_()
    with torch.enable_grad():
        nats_N = nll(head, exact_ND, targets_N)
    (gradient_ND,) = torch.autograd.grad(nats_N.sum(), exact_ND)
    return -gradient_ND
