"""The rows that tune low-rank adapters on rows of one class: ``lora``, and ``dexperts``, which contrasts two of them.

Shapes: B rows, T tokens, R rank, I and O input and output width of a linear module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.text_datamodule import TextDataModule
from lmsteer.errors import InputError
from lmsteer.methods.class_rows import require_classes
from lmsteer.methods.learned_method import FitJob, Learned, LearnedMethod, check_packed, check_positive
from lmsteer.methods.peft_adapter import write_peft_adapter
from lmsteer.models.body_edit import Edit, edited, linear_names, widths
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture, Source
from lmsteer.records import Row
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.body_module import BodyModule
from lmsteer.training.fit import Solver
from lmsteer.training.weights import Weights

A, B = ".lora_A.weight", ".lora_B.weight"
POSITIVE, NEGATIVE = "positive", "negative"


@dataclass(frozen=True, kw_only=True)
class AdapterMethod(LearnedMethod):
    """A method with two LoRA adapters (Hu et al., 2022) on one frozen model, each tuned on the rows of one class.

    An adapter sees the rows of its class in the very batches that a steer sees. It changes all linear modules of the
    layers: ``W x + alpha / rank B A x``.

    Attributes:
        rank: Rank of the adapters.
        alpha: Their scale is ``alpha / rank``.
        lr: Learning rate, in place of that of the optimizer's choice.
    """

    rank: int = 16
    alpha: float = 32.0
    lr: float = 1e-3

    def __post_init__(self) -> None:
        check_positive(rank=self.rank, alpha=self.alpha, lr=self.lr)

    def check_data(self, data: SteerDataModule, steer_config: SteerConfig, solver: Solver) -> None:
        """Refuse a corpus without one of the classes, in its dev rows too, and a rank above the model's width."""
        check_packed(data, self.name)
        require_classes(data.corpus.train, self.name)
        if data.dev:
            require_classes(data.dev, f"{self.name}, dev rows")
        self._check_rank(data.extract.model)

    def _check_rank(self, model: LanguageModel) -> None:
        modules = (model.lm.get_submodule(name) for name in linear_names(model.lm))
        largest = max(min(widths(module)) for module in modules)
        if self.rank > largest:
            raise InputError(f"method.rank={self.rank}: an integer in [1, {largest}] expected for {model.name}")

    def learn(self, job: FitJob) -> Learned:
        """Tune both adapters.

        Raises:
            InputError: If the loss is not finite.
        """
        tensors, curves = dict[str, Tensor](), {}
        for side, sign in ((POSITIVE, 1), (NEGATIVE, -1)):
            weights, curves[side] = self._tune(job, side, partial(_has_sign, sign))
            tensors |= {f"{side}.{name}": tensor for name, tensor in weights.items()}
        return Learned(tensors, training={"curves": curves, **job.settings(self.lr)})

    def _tune(self, job: FitJob, side: str, selects: partial[bool]) -> tuple[dict[str, Tensor], dict[str, object]]:
        weights = Weights(new_adapter(job.model, self.rank, seed=job.data.seed))

        def edit(tensors: Mapping[str, Tensor], label_B: Tensor) -> AbstractContextManager[object]:
            return edited(job.model.lm, adapter_edits(tensors, self.alpha / self.rank))

        module = BodyModule(weights, job.model, edit, **job.module_options(self.lr)).to(job.model.device)
        folder = job.folder / side if job.folder else None
        job.solver.run(module, job.data, TextDataModule(job.data, selects), folder=folder, loggers=job.loggers)
        return module.best().detached(), dict(module.curve)

    def check_learned(self, model: LanguageModel, learned: Learned, path: Path) -> None:
        """Refuse an adapter for modules that the model lacks, or of other widths.

        Raises:
            InputError: Naming the file and the module.
        """
        try:
            self._check_rank(model)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        expected = {
            f"{side}.{name}": tensor.shape
            for side in (POSITIVE, NEGATIVE)
            for name, tensor in new_adapter(model, self.rank, seed=0).items()
        }
        for name, shape in expected.items():
            if name not in learned.tensors or learned.tensors[name].shape != shape:
                raise InputError(f"{path}: an adapter without {name} of shape {tuple(shape)}, which {model.name} needs")

    def write_for_others(self, folder: Path, model: LanguageModel, learned: Learned) -> None:
        """Write both adapters in the layout of PEFT, to ``adapters/positive`` and ``adapters/negative``."""
        for side in (POSITIVE, NEGATIVE):
            tensors, modules = _of_side(learned, side), linear_names(model.lm)
            target = folder / "adapters" / side
            write_peft_adapter(target, tensors, modules, model, rank=self.rank, alpha=self.alpha)

    def expert(self, model: LanguageModel, learned: Learned, side: str, scale: float = 1.0) -> Source:
        """Return the model with the adapter of a class, at a multiple of its scale."""
        dtype = model.head.weight.dtype  # float32 factors would make a pass of a bfloat16 model a fifth longer
        tensors = {name: tensor.to(model.device, dtype) for name, tensor in _of_side(learned, side).items()}
        edits = adapter_edits(tensors, scale * self.alpha / self.rank)
        return Source(model, model.head, edit=lambda: edited(model.lm, edits))


@dataclass(frozen=True, kw_only=True)
class Lora(AdapterMethod):
    """Write with the adapter of the wanted class, its scale multiplied by the strength. One pass a token."""

    name: ClassVar[str] = "lora"

    def held_parameters(self, learned: Learned, strength: float) -> int:
        """Return the size of one adapter."""
        return _size(learned, POSITIVE if strength > 0 else NEGATIVE)

    def mixture(self, model: LanguageModel, learned: Learned, strength: float) -> Mixture:
        """Return the adapted model."""
        return Mixture((self.expert(model, learned, POSITIVE if strength > 0 else NEGATIVE, abs(strength)),))


@dataclass(frozen=True, kw_only=True)
class DExperts(AdapterMethod):
    """Contrast two experts: ``z + v (z_positive - z_negative)`` (Liu et al., 2021, equation 2). Three passes a token.

    Attributes:
        form: "lora": both experts are adapters. "anti_only": the model itself is the wanted expert, two passes.
    """

    name: ClassVar[str] = "dexperts"
    form: Literal["lora", "anti_only"] = "lora"

    def held_parameters(self, learned: Learned, strength: float) -> int:
        """Return the size of the experts that read the text."""
        wanted_side, unwanted_side = (POSITIVE, NEGATIVE) if strength > 0 else (NEGATIVE, POSITIVE)
        return _size(learned, unwanted_side) + (self.form == "lora") * _size(learned, wanted_side)

    def mixture(self, model: LanguageModel, learned: Learned, strength: float) -> Mixture:
        """Return the plain model moved from one expert towards the other."""
        base = Source(model, model.head)
        wanted_side, unwanted_side = (POSITIVE, NEGATIVE) if strength > 0 else (NEGATIVE, POSITIVE)
        size, against = abs(strength), self.expert(model, learned, unwanted_side)
        if self.form == "anti_only":
            return Mixture((base, against), lambda z, past_NH: z[0] + size * (z[0] - z[1]))
        experts = self.expert(model, learned, wanted_side), against
        return Mixture((base, *experts), lambda z, past_NH: z[0] + size * (z[1] - z[2]))


def _of_side(learned: Learned, side: str) -> dict[str, Tensor]:
    prefix = f"{side}."
    return {key.removeprefix(prefix): x for key, x in learned.tensors.items() if key.startswith(prefix)}


def _size(learned: Learned, side: str) -> int:
    return sum(tensor.numel() for tensor in _of_side(learned, side).values())


def _has_sign(sign: int, row: Row) -> bool:
    return row.label * sign > 0


def new_adapter(model: LanguageModel, rank: int, *, seed: int) -> dict[str, Tensor]:
    """Return the factors A (R, I), random, and B (O, R), zero, of an adapter, by the names that PEFT gives them."""
    noise = torch.Generator().manual_seed(seed)
    tensors = {}
    for name in linear_names(model.lm):
        inputs, outputs = widths(model.lm.get_submodule(name))
        bound = 1 / math.sqrt(inputs)
        tensors[name + A] = (torch.rand(rank, inputs, generator=noise) * 2 - 1) * bound
        tensors[name + B] = torch.zeros(outputs, rank)
    return tensors


def adapter_edits(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Edit]:
    """Return the edit of each linear module by an adapter."""
    names = [name.removesuffix(A) for name in tensors if name.endswith(A)]
    return {name: partial(_add, tensors[name + A].T, tensors[name + B].T, scale) for name in names}


def _add(a_IR: Tensor, b_RO: Tensor, scale: float, x_BTI: Tensor, y_BTO: Tensor) -> Tensor:
    if a_IR.device != x_BTI.device:  # a model whose layers lie on several devices
        a_IR, b_RO = a_IR.to(x_BTI.device), b_RO.to(x_BTI.device)
    x_NI = x_BTI.flatten(end_dim=-2)
    low_NR = x_NI.to(a_IR.dtype) @ a_IR
    y_NO = y_BTO.flatten(end_dim=-2)
    if y_NO.dtype == b_RO.dtype:
        return torch.addmm(y_NO, low_NR, b_RO, alpha=scale).view_as(y_BTO)
    return (y_NO + (low_NR @ b_RO * scale).to(y_NO.dtype)).view_as(y_BTO)
