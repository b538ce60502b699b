"""The output head of a causal language model: what turns a hidden state into logits.

Shapes: N packed tokens, D width, V vocabulary.
"""

from __future__ import annotations

import hashlib
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from lmsteer.errors import InputError

CHUNK = 128
"""Tokens whose logits are held at once by ``Head.nats``; fastest of 32 to 512 on two cores."""


class Head(nn.Module):
    """Output embeddings with the bias, scale and soft-cap that a model may have.

    ``weight`` (V, D) may be padded: only the first ``vocabulary`` rows stand for tokens of the tokenizer.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        *,
        bias: Tensor | None = None,
        scale: float = 1.0,
        softcap: float | None = None,
        vocabulary: int | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.scale, self.softcap = scale, softcap
        self.vocabulary = min(vocabulary or weight.shape[0], weight.shape[0])

    @classmethod
    def of(cls, lm: PreTrainedModel, *, vocabulary: int | None = None) -> Head:
        """Build the head of a model, sharing its tensors.

        Raises:
            InputError: If the model has no linear output embeddings.
        """
        output = lm.get_output_embeddings()
        if not isinstance(output, nn.Linear):
            raise InputError(f"model {lm.name_or_path}: no linear output embeddings, only a causal LM can be steered")
        config: Any = lm.config.get_text_config()
        scale = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere multiplies,
        scale /= float(getattr(config, "logits_scaling", None) or 1.0)  # Granite divides
        softcap = getattr(config, "final_logit_softcapping", None)  # Gemma
        return cls(output.weight, bias=output.bias, scale=scale, softcap=softcap, vocabulary=vocabulary)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) in float32 of hidden states (..., D)."""
        logits = F.linear(hidden.to(self.weight.dtype), self.weight, self.bias).float()
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits

    def nats(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Cross-entropy (N,) of each target in nats, differentiable in ``hidden_ND``.

        The logits of only ``CHUNK`` tokens exist at a time, in the backward pass too.
        """
        return cast(Tensor, _ChunkedCrossEntropy.apply(hidden_ND, targets_N, self))  # type: ignore[no-untyped-call]

    def fingerprint(self) -> str:
        """sha256 of the head, the same in float32 and bfloat16."""
        state = hashlib.sha256(f"{tuple(self.weight.shape)} {self.scale} {self.softcap}".encode())
        for tensor in (self.weight, self.bias):
            if tensor is not None:
                state.update(tensor.to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().data)
        return state.hexdigest()


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Cross-entropy whose gradient is computed chunk by chunk in the forward pass, while the logits are there."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, targets_N: Tensor, head: Head) -> Tensor:
        nats, gradients = [], []
        wanted = ctx.needs_input_grad[0]
        with torch.set_grad_enabled(wanted):
            for hidden, targets in zip(hidden_ND.split(CHUNK), targets_N.split(CHUNK), strict=True):
                hidden = hidden.detach().requires_grad_(wanted)
                chunk = F.cross_entropy(head(hidden), targets, reduction="none")
                nats.append(chunk.detach())
                if wanted:
                    gradients += torch.autograd.grad(chunk.sum(), hidden)
        if wanted:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(nats)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient_ND,) = ctx.saved_tensors
        return (gradient_ND * grad_outputs[0][:, None]).to(gradient_ND.dtype), None, None
