"""Devices of the modules of a language model that a device map spreads over GPUs, main memory and disk.

Such a model has the hooks of accelerate: each module moves its inputs to the device on which it computes, and a module
that is offloaded to disk, or from a GPU to main memory, moves its weights there for every call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from lmsteer.models.quantization import plain_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def is_spread(lm: nn.Module) -> bool:
    """Return whether hooks move weights or inputs of the model."""
    return hasattr(lm, "_hf_hook")


def computes_on(module: nn.Module) -> torch.device:
    """Return the device on which a module with weights computes, even if these are offloaded."""
    device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
    return next(module.parameters()).device if device is None else torch.device(device)


def split_tied_weights(lm: nn.Module) -> tuple[str, str] | None:
    """Return the names of two tied parameters of which only one is on disk, if any: such a model cannot run."""
    from transformers.integrations.accelerate import get_device

    devices = getattr(lm, "hf_device_map", {}) or {"": "cpu"}
    for pair in getattr(lm, "all_tied_weights_keys", {}).items():
        if sum(get_device(devices, name) == "disk" for name in pair) == 1:
            return pair
    return None


def load_parameter(module: nn.Module, tensor: Tensor, name: str) -> Tensor:
    """Return a parameter of a module on the device on which it computes; it is read if it is offloaded."""
    return _read(module, name).to(computes_on(module)) if tensor.is_meta else tensor


def iterate_state(lm: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the names and tensors of a model's state, sorted by name; offloaded tensors are read one by one.

    A tensor that wraps others, as quantized weights may, counts as these.
    """
    for name, tensor in sorted(lm.state_dict().items()):
        yield from plain_tensors(name, _read(lm, name) if tensor.is_meta else tensor)


def _read(module: nn.Module, name: str) -> Tensor:
    from transformers.integrations.accelerate import load_offloaded_parameter

    return load_offloaded_parameter(cast("PreTrainedModel", module), name)
