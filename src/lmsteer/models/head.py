"""The output head of a causal language model, which maps a hidden state to logits.

Shapes: N packed tokens, D width, V vocabulary.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmsteer.errors import InputError
from lmsteer.models.device_map import load_parameter
from lmsteer.models.quantization import is_plain

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Head(nn.Module):
    """Output embeddings with the optional bias, scale and soft-cap of a model.

    ``weight`` (V, D) may be padded: only the first ``vocabulary`` rows are tokens of the tokenizer.
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
        """Build the head of a model, sharing its tensors; offloaded tensors are read.

        Raises:
            InputError: If the model has no linear output embeddings, or they are quantized.
        """
        output = lm.get_output_embeddings()
        if not isinstance(output, nn.Linear):
            raise InputError(f"model {lm.name_or_path}: no linear output embeddings, only a causal LM can be steered")
        if not is_plain(output.weight):
            raise InputError(
                f"model {lm.name_or_path}: its output embeddings are quantized, and a steer acts on their numbers; a "
                "model that is quantized without them (lm_head) expected"
            )
        config: Any = lm.config.get_text_config()
        scale = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere multiplies,
        scale /= float(getattr(config, "logits_scaling", None) or 1.0)  # Granite divides
        softcap = getattr(config, "final_logit_softcapping", None)  # Gemma
        weight = load_parameter(output, output.weight, "weight")
        bias = None if output.bias is None else load_parameter(output, output.bias, "bias")
        return cls(weight, bias=bias, scale=scale, softcap=softcap, vocabulary=vocabulary)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logits (..., V) of hidden states (..., D) in float32, or float64 if the head has it."""
        return self.logits(hidden.to(self.weight.dtype))

    def logits(self, hidden: Tensor, columns: slice = slice(None)) -> Tensor:
        """Return the logits of a slice of the vocabulary; ``hidden`` has the dtype of the head."""
        bias = None if self.bias is None else self.bias[columns]
        logits = F.linear(hidden, self.weight[columns], bias)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits

    def fingerprint(self) -> str:
        """Return the sha256 of the head, the same in float32 and bfloat16."""
        state = hashlib.sha256(f"{tuple(self.weight.shape)} {self.scale} {self.softcap}".encode())
        for tensor in (self.weight, self.bias):
            if tensor is not None:
                state.update(tensor.to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().data)
        return state.hexdigest()
