"""Language models whose linear modules are quantized: by bitsandbytes as they are loaded, or in their files.

The output head, on which a steer acts, and the embeddings stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from lmsteer.errors import InputError
from lmsteer.extras import MissingExtraError
from lmsteer.models.device_options import Quantization

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

BITSANDBYTES = "bitsandbytes"


def quantization_options(
    quantization: Quantization, config: PreTrainedConfig, *, model: str, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """Return the options of ``from_pretrained`` by which a model is loaded quantized; none if it is not.

    Args:
        quantization: "4bit": NF4, computed in ``dtype``. "8bit": LLM.int8(). None: as the files are.
        config: Configuration of the model, which says if its files are quantized.
        device: Where the modules are quantized.

    Raises:
        InputError: If the files are quantized already, or bitsandbytes is needed and not installed.
    """
    stored = stored_method(config)
    if quantization and stored:
        raise InputError(
            f"model.quantization={quantization}: the files of {model} are quantized ({stored}); leave it out"
        )
    if stored == BITSANDBYTES or quantization:
        require_bitsandbytes(f"model.quantization={quantization}" if quantization else f"model {model}")
    if not quantization:
        return {"device_map": {"": device}} if stored == BITSANDBYTES else {}
    from transformers import BitsAndBytesConfig

    fields: dict[str, Any] = {"load_in_8bit": True}
    if quantization == "4bit":
        fields = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    return {"quantization_config": BitsAndBytesConfig(**fields), "device_map": {"": device}}


def stored_method(config: PreTrainedConfig) -> str:
    """Return how the files of a model are quantized, such as ``bitsandbytes`` or ``torchao``; empty: they are not."""
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return ""
    method = stored.get("quant_method", "") if isinstance(stored, dict) else stored.quant_method
    return str(getattr(method, "value", method)) or "unknown"


def require_bitsandbytes(user: str) -> None:
    """Check that bitsandbytes is installed, and mute its warnings, which in 8 bits come at every call of every module.

    Raises:
        MissingExtraError: If it is not installed.
    """
    if find_spec(BITSANDBYTES) is None:
        raise MissingExtraError(user, BITSANDBYTES)
    logging.getLogger(BITSANDBYTES).setLevel(logging.ERROR)


def keep_layout(lm: nn.Module) -> None:
    """Keep 4-bit weights as they are on a CPU, where bitsandbytes would pack them for AVX-512 at the first call.

    Packed weights give no gradients, and whoever reads the state of the module spoils their scales (version 0.50).
    """
    module: Any
    for module in lm.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def is_quantized(lm: nn.Module) -> bool:
    """Return whether weights of a model are held in another form than its numbers."""
    return not all(map(is_plain, lm.parameters()))


def is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor holds the floating-point numbers that it stands for."""
    return tensor.is_floating_point() and not is_traceable_wrapper_subclass(tensor)


def plain_tensors(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and tensor, or of one that wraps others, such as those of torchao, these."""
    if not is_traceable_wrapper_subclass(tensor):
        yield name, tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for inner in sorted(names):
        yield from plain_tensors(f"{name}.{inner}", getattr(tensor, inner))
