"""What makes an expert of a class out of one language model: an adapter, or a whole copy of its weights.

Shapes: B rows, T tokens, N = B * T, R rank, I and O input and output width of a linear module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.methods.peft_adapter import write_peft_adapter
from lmsteer.models.body_edit import Edit, body_weights, edited, linear_names, reweighted, widths
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.quantization import is_quantized

A, B = ".lora_A.weight", ".lora_B.weight"
Editing = Callable[[], AbstractContextManager[object]]
"""Opens a context in which the model computes as an expert does."""


class Expert(Protocol):
    """A way to make an expert out of a model, by weights with names."""

    def check(self, model: LanguageModel) -> None:
        """Refuse a model that it does not fit.

        Raises:
            InputError: Naming the option.
        """

    def untrained(self, model: LanguageModel, *, seed: int) -> dict[str, Tensor]:
        """Return the weights before the training."""

    def editing(self, model: LanguageModel, tensors: Mapping[str, Tensor], scale: float) -> Editing:
        """Return what opens the context of an expert; ``scale`` multiplies an adapter."""

    def stored(self, model: LanguageModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return trained weights as files hold them."""

    def write_for_others(self, folder: Path, model: LanguageModel, tensors: Mapping[str, Tensor]) -> None:
        """Write them for other tools, if there is a format."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter (Hu et al., 2022) of all linear modules of the layers: ``W x + alpha / rank B A x``."""

    rank: int
    alpha: float

    def check(self, model: LanguageModel) -> None:
        """Refuse a rank above the model's width."""
        modules = (model.lm.get_submodule(name) for name in linear_names(model.lm))
        largest = max(min(widths(module)) for module in modules)
        if self.rank > largest:
            raise InputError(f"method.rank={self.rank}: an integer in [1, {largest}] expected for {model.name}")

    def untrained(self, model: LanguageModel, *, seed: int) -> dict[str, Tensor]:
        """Return the factors A (R, I), random, and B (O, R), zero, by the names that PEFT gives them."""
        noise = torch.Generator().manual_seed(seed)
        tensors = {}
        for name in linear_names(model.lm):
            inputs, outputs = widths(model.lm.get_submodule(name))
            bound = 1 / math.sqrt(inputs)
            tensors[name + A] = (torch.rand(self.rank, inputs, generator=noise) * 2 - 1) * bound
            tensors[name + B] = torch.zeros(outputs, self.rank)
        return tensors

    def editing(self, model: LanguageModel, tensors: Mapping[str, Tensor], scale: float) -> Editing:
        """Return what adds the adapter to the outputs of the modules."""
        edits = self.edits(tensors, scale)
        return lambda: edited(model.lm, edits)

    def edits(self, tensors: Mapping[str, Tensor], scale: float) -> dict[str, Edit]:
        """Return the edit of each module."""
        names, scale = [name.removesuffix(A) for name in tensors if name.endswith(A)], scale * self.alpha / self.rank
        return {name: partial(_add, tensors[name + A].T, tensors[name + B].T, scale) for name in names}

    def stored(self, model: LanguageModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the factors as they were trained."""
        return dict(tensors)

    def write_for_others(self, folder: Path, model: LanguageModel, tensors: Mapping[str, Tensor]) -> None:
        """Write the adapter in the layout of PEFT."""
        write_peft_adapter(folder, tensors, linear_names(model.lm), model, rank=self.rank, alpha=self.alpha)


@dataclass(frozen=True)
class WholeCopy:
    """A copy of all weights but those of the embeddings, which stay the model's own."""

    def check(self, model: LanguageModel) -> None:
        """Refuse a model with quantized weights, as these cannot be trained."""
        if is_quantized(model.lm):
            raise InputError(f"method.form=full: the weights of {model.name} are quantized; form=lora tunes adapters")

    def untrained(self, model: LanguageModel, *, seed: int) -> dict[str, Tensor]:
        """Return a copy of the model's weights."""
        return {name: weight.clone() for name, weight in body_weights(model.lm).items()}

    def editing(self, model: LanguageModel, tensors: Mapping[str, Tensor], scale: float) -> Editing:
        """Return what puts the copy in place of the model's weights."""
        weights = {name: tensor.to(model.head.weight.dtype) for name, tensor in tensors.items()}
        return lambda: reweighted(model.lm, weights)

    def stored(self, model: LanguageModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights in the dtype of the model, in which it computes with them."""
        return {name: tensor.to(model.head.weight.dtype) for name, tensor in tensors.items()}

    def write_for_others(self, folder: Path, model: LanguageModel, tensors: Mapping[str, Tensor]) -> None:
        """Write nothing more: the file of the method holds all weights."""


def _add(a_IR: Tensor, b_RO: Tensor, scale: float, x_BTI: Tensor, y_BTO: Tensor) -> Tensor:
    if a_IR.device != x_BTI.device:  # a model whose layers lie on several devices
        a_IR, b_RO = a_IR.to(x_BTI.device), b_RO.to(x_BTI.device)
    x_NI, y_NO = x_BTI.flatten(end_dim=-2), y_BTO.flatten(end_dim=-2)
    low_NR = x_NI.to(a_IR.dtype) @ a_IR
    if y_NO.dtype == b_RO.dtype:
        return torch.addmm(y_NO, low_NR, b_RO, alpha=scale).view_as(y_BTO)
    return (y_NO + (low_NR @ b_RO * scale).to(y_NO.dtype)).view_as(y_BTO)
