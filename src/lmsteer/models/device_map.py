"""Where the parts of a language model stand and compute, when a device map spreads it over several places.

Such a model carries the hooks of accelerate: each part brings its inputs to the device it computes on, and a part that
was put on disk, or beside a GPU into main memory, brings its weights there for every call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.accelerate import get_device, load_offloaded_parameter


def is_spread(lm: nn.Module) -> bool:
    """Whether hooks move weights or inputs of the model."""
    return hasattr(lm, "_hf_hook")


def computes_on(module: nn.Module) -> torch.device:
    """The device on which a module with weights of its own computes, wherever they are kept."""
    place = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
    return next(module.parameters()).device if place is None else torch.device(place)


def torn(lm: nn.Module) -> tuple[str, str] | None:
    """Names of two parameters that are one tensor and of which one only was put on disk: a model that cannot run."""
    places = getattr(lm, "hf_device_map", {}) or {"": "cpu"}
    for pair in getattr(lm, "all_tied_weights_keys", {}).items():
        if sum(get_device(places, name) == "disk" for name in pair) == 1:
            return pair
    return None


def held(module: nn.Module, tensor: Tensor, name: str) -> Tensor:
    """A parameter of a module on the device on which it computes: itself, or read if it is kept elsewhere."""
    return _read(module, name).to(computes_on(module)) if tensor.is_meta else tensor


def state_of(lm: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a model's state by name; those kept elsewhere are read one after the other."""
    for name, tensor in sorted(lm.state_dict().items()):
        yield name, _read(lm, name) if tensor.is_meta else tensor


def _read(module: nn.Module, name: str) -> Tensor:
    return load_offloaded_parameter(cast(PreTrainedModel, module), name)
