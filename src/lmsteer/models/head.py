"""The output head of a causal language model: what turns a hidden state into logits.

Shapes: N packed tokens, D width, V vocabulary.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from lmsteer.errors import InputError
from lmsteer.models.device_map import held


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
        """Build the head of a model, sharing its tensors; a weight that is kept on disk or off a GPU is read into it.

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
        weight = held(output, output.weight, "weight")
        bias = None if output.bias is None else held(output, output.bias, "bias")
        return cls(weight, bias=bias, scale=scale, softcap=softcap, vocabulary=vocabulary)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of hidden states (..., D), in float32 (in float64 where the head is)."""
        return self.logits(hidden.to(self.weight.dtype))

    def logits(self, hidden: Tensor, columns: slice = slice(None)) -> Tensor:
        """Logits of some tokens of the vocabulary; ``hidden`` has the dtype of the head."""
        bias = None if self.bias is None else self.bias[columns]
        logits = F.linear(hidden, self.weight[columns], bias)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits

    def fingerprint(self) -> str:
        """sha256 of the head, the same in float32 and bfloat16."""
        state = hashlib.sha256(f"{tuple(self.weight.shape)} {self.scale} {self.softcap}".encode())
        for tensor in (self.weight, self.bias):
            if tensor is not None:
                state.update(tensor.to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().data)
        return state.hexdigest()
