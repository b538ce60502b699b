"""One dimension of a steer as a low-rank adapter (LoRA) on the output head: PEFT's files, or a GGUF file.

Shapes: D width, R rank, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.steer import Steer
from lmsteer.storage.atomic_files import atomic_write, atomic_write_lines

GGUF_ARCHITECTURES = {
    "cohere": "command-r",
    "gemma3_text": "gemma3",
    "gpt_neox": "gptneox",
    "mistral": "llama",
    "phi": "phi2",
}
"""Name of an architecture in GGUF by that in transformers, where they differ."""
NOT_BUILT = {"gptj"}
"""Architectures with a name in GGUF, but no code in llama.cpp."""


@dataclass(frozen=True)
class HeadAdapter:
    """The low-rank change ``v (B A h + g)`` of the logits, before the scale and the soft-cap of the model.

    ``A = P1^T``, ``B = epsilon E P2`` and ``g = epsilon E b``; it is exact at every strength v (Han et al., 2024,
    section 3).

    Attributes:
        a: A (R, D); of rank 1 and 0 if the steer is only a bias.
        b: B (V, R).
        bias: g (V,), or None where it is 0.
    """

    a: Tensor
    b: Tensor
    bias: Tensor | None

    @classmethod
    @torch.no_grad()
    def of(cls, model: LanguageModel, steer: Steer, k: int) -> HeadAdapter:
        """Compute the adapter of dimension ``k``, in the dtype of the model."""
        head = model.head
        p1, write, constant = steer.logit_factors(head, k)
        if not p1.shape[1]:
            p1, write = p1.new_zeros(len(p1), 1), write.new_zeros(len(write), 1)
        tensors = (p1.T, write / head.scale, constant / head.scale)
        a, b, bias = (tensor.to("cpu", head.weight.dtype).contiguous() for tensor in tensors)
        return cls(a, b, bias if bias.any() else None)

    @property
    def rank(self) -> int:
        """Number of rows of A."""
        return len(self.a)


def write_peft_adapter(
    folder: Path, model: LanguageModel, adapter: HeadAdapter, *, strength: float, base_model: str = ""
) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json`` of PEFT, which stock PEFT loads.

    Args:
        strength: Strength at the adapter's own scale, ``lora_alpha / r``.
        base_model: Name of the base model on the hub, if known.
    """
    folder.mkdir(parents=True)
    module, prefix = head_name(model), f"base_model.model.{head_name(model)}"
    tensors = {f"{prefix}.lora_A.weight": adapter.a, f"{prefix}.lora_B.weight": adapter.b}
    if adapter.bias is not None:
        tensors[f"{prefix}.lora_B.bias"] = adapter.bias
    config = {
        "base_model_name_or_path": base_model or None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": adapter.rank * strength,
        "lora_bias": adapter.bias is not None,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": adapter.rank,
        "target_modules": [module],
        "task_type": "CAUSAL_LM",
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    atomic_write_lines(folder / "adapter_config.json", [json.dumps(config, indent=2)])


def head_name(model: LanguageModel) -> str:
    """Return the name of the module of the output embeddings, such as ``lm_head``."""
    head = model.lm.get_output_embeddings()
    names: Iterator[str] = (name for name, module in model.lm.named_modules() if module is head)
    return next(names)


def write_gguf_adapter(path: Path, model: LanguageModel, adapter: HeadAdapter, *, strength: float, name: str) -> None:
    """Write a GGUF file that llama.cpp loads as a LoRA of ``output.weight``, in float32.

    Args:
        strength: Strength at scale 1, ``adapter.lora.alpha / rank``.
        name: Name of the dimension.

    Raises:
        InputError: If llama.cpp does not know the architecture, or the steer has a constant part.
    """
    from gguf import GGUFWriter

    with atomic_write(path) as temporary:
        writer = GGUFWriter(temporary, gguf_architecture(model))
        writer.add_type("adapter")
        writer.add_name(name)
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", adapter.rank * strength)
        writer.add_tensor("output.weight.lora_a", adapter.a.float().numpy())
        writer.add_tensor("output.weight.lora_b", adapter.b.float().numpy())
        for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            write()
        writer.close()


def gguf_architecture(model: LanguageModel) -> str:
    """Return the name of a model's architecture in GGUF.

    Raises:
        InputError: If it has none.
    """
    from gguf import MODEL_ARCH_NAMES

    kind: str = model.lm.config.get_text_config().model_type
    name = GGUF_ARCHITECTURES.get(kind, kind)
    if name not in MODEL_ARCH_NAMES.values() or name in NOT_BUILT:
        raise InputError(f"model {model.name} ({kind}): not an architecture of llama.cpp; form=adapter is for PEFT")
    return name


def refuse_constant(steer: Steer, names: Mapping[str, float]) -> None:
    """Refuse dimensions with a constant part, for which a file has no place.

    Raises:
        InputError: Naming the first.
    """
    for name in names:
        if steer.bias is not None and steer.bias[steer.dimensions.index(name)].any():
            raise InputError(
                f"dimension {name} has a constant part, and an adapter of llama.cpp none; export takes it "
                "with form=adapter and form=processor"
            )
