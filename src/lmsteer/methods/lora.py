"""The rows that tune an expert on the rows of each class: ``lora`` writes with one, ``dexperts`` contrasts two."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.text_datamodule import TextDataModule
from lmsteer.errors import InputError
from lmsteer.methods.class_rows import require_classes
from lmsteer.methods.experts import Adapter, Expert, WholeCopy
from lmsteer.methods.fit_cache import Tuned
from lmsteer.methods.learned_method import FitJob, Learned, LearnedMethod, check_packed, check_positive
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture, Source
from lmsteer.records import Row
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.body_module import BodyModule
from lmsteer.training.fit import Solver
from lmsteer.training.weights import Weights

POSITIVE, NEGATIVE = "positive", "negative"


@dataclass(frozen=True, kw_only=True)
class ExpertMethod(LearnedMethod):
    """A method with two experts out of one frozen model, each tuned on the rows of one class.

    An expert sees the rows of its class in the very batches that a steer sees.

    Attributes:
        rank: Rank of the adapters.
        alpha: Their scale is ``alpha / rank``.
        lr: Learning rate, in place of that of the optimizer's choice. None: 1e-3 for adapters, 5e-5 for whole copies.
    """

    rank: int = 16
    alpha: float = 32.0
    lr: float | None = None

    def __post_init__(self) -> None:
        check_positive(rank=self.rank, alpha=self.alpha, **({} if self.lr is None else {"lr": self.lr}))

    @property
    def kind(self) -> Expert:
        """How an expert is made."""
        return Adapter(self.rank, self.alpha)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the training."""
        if self.lr is not None:
            return self.lr
        return 5e-5 if isinstance(self.kind, WholeCopy) else 1e-3

    def check_data(self, data: SteerDataModule, steer_config: SteerConfig, solver: Solver) -> None:
        """Refuse a corpus without one of the classes, in its dev rows too, and a rank above the model's width."""
        check_packed(data, self.name)
        require_classes(data.corpus.train, self.name)
        if data.dev:
            require_classes(data.dev, f"{self.name}, dev rows")
        self.kind.check(data.extract.model)

    def learn(self, job: FitJob) -> Learned:
        """Tune both experts.

        Raises:
            InputError: If the loss is not finite.
        """
        tensors, curves = dict[str, Tensor](), {}
        for side in (POSITIVE, NEGATIVE):
            weights, curves[side] = self.tune(job, side)
            tensors |= weights
        return Learned(tensors, training={"curves": curves, **job.settings(self.learning_rate)})

    def tune(self, job: FitJob, side: str) -> Tuned:
        """Tune the expert of one side; return its weights, with the side in their names, and its training curve.

        An adapter may come from the cache, as ``lora`` and ``dexperts`` tune the same ones.
        """
        tune = partial(self._tune, job, side)
        if isinstance(self.kind, WholeCopy) or job.solver.callbacks:  # callbacks may do and depend on anything
            weights, curve = tune()
        else:
            inputs = (self.kind, self.learning_rate, side, job.identity)
            weights, curve = job.cache.tuned(inputs, tune, job.data.process_group)
        return {f"{side}.{name}": tensor for name, tensor in weights.items()}, curve

    def _tune(self, job: FitJob, side: str) -> Tuned:
        selects = partial(_has_sign, 1 if side == POSITIVE else -1)
        weights = Weights(self.kind.untrained(job.model, seed=job.data.seed))

        def edit(tensors: Mapping[str, Tensor], label_B: Tensor) -> AbstractContextManager[object]:
            return self.kind.editing(job.model, tensors, 1.0)()

        options = job.module_options(self.learning_rate)
        module = BodyModule(weights, job.model, edit, **options).to(job.model.device)
        folder = job.folder / side if job.folder else None
        job.solver.run(module, job.data, TextDataModule(job.data, selects), folder=folder, loggers=job.loggers)
        return self.kind.stored(job.model, module.best().detached()), dict(module.curve)

    def check_learned(self, model: LanguageModel, learned: Learned, path: Path) -> None:
        """Refuse an expert for modules that the model lacks, or of other widths.

        Raises:
            InputError: Naming the file and the module.
        """
        try:
            self.kind.check(model)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        expected = {
            f"{side}.{name}": tensor.shape
            for side in (POSITIVE, NEGATIVE)
            for name, tensor in self.kind.untrained(model, seed=0).items()
        }
        for name, shape in expected.items():
            if name not in learned.tensors or learned.tensors[name].shape != shape:
                raise InputError(f"{path}: an expert without {name} of shape {tuple(shape)}, which {model.name} needs")

    def write_for_others(self, folder: Path, model: LanguageModel, learned: Learned) -> None:
        """Write adapters in the layout of PEFT, to ``adapters/positive`` and ``adapters/negative``."""
        for side in (POSITIVE, NEGATIVE):
            self.kind.write_for_others(folder / "adapters" / side, model, _of_side(learned, side))

    def expert(self, model: LanguageModel, learned: Learned, side: str, scale: float = 1.0) -> Source:
        """Return the expert of a class, with a multiple of its adapter."""
        dtype = model.head.weight.dtype  # float32 factors would make a pass of a bfloat16 model a fifth longer
        tensors = {name: tensor.to(model.device, dtype) for name, tensor in _of_side(learned, side).items()}
        return Source(model, model.head, edit=self.kind.editing(model, tensors, scale))


@dataclass(frozen=True, kw_only=True)
class Lora(ExpertMethod):
    """Write with the adapter of the wanted class, its scale multiplied by the strength. One pass a token."""

    name: ClassVar[str] = "lora"

    def held_parameters(self, learned: Learned, strength: float) -> int:
        """Return the size of one adapter."""
        return _size(learned, POSITIVE if strength > 0 else NEGATIVE)

    def mixture(self, model: LanguageModel, learned: Learned, strength: float) -> Mixture:
        """Return the adapted model."""
        return Mixture((self.expert(model, learned, POSITIVE if strength > 0 else NEGATIVE, abs(strength)),))


@dataclass(frozen=True, kw_only=True)
class DExperts(ExpertMethod):
    """Contrast two experts: ``z + v (z_positive - z_negative)`` (Liu et al., 2021, equation 2). Three passes a token.

    Attributes:
        form: "lora": both experts are adapters. "anti_only": the model itself is the wanted expert, two passes.
            "full": both are whole copies of the model, as published.
    """

    name: ClassVar[str] = "dexperts"
    form: Literal["lora", "anti_only", "full"] = "lora"

    @property
    def kind(self) -> Expert:
        """How an expert is made."""
        return WholeCopy() if self.form == "full" else super().kind

    def held_parameters(self, learned: Learned, strength: float) -> int:
        """Return the size of the experts that read the text."""
        wanted_side, unwanted_side = (POSITIVE, NEGATIVE) if strength > 0 else (NEGATIVE, POSITIVE)
        return _size(learned, unwanted_side) + (self.form != "anti_only") * _size(learned, wanted_side)

    def mixture(self, model: LanguageModel, learned: Learned, strength: float) -> Mixture:
        """Return the plain model moved from one expert towards the other."""
        base = Source(model, model.head)
        wanted_side, unwanted_side = (POSITIVE, NEGATIVE) if strength > 0 else (NEGATIVE, POSITIVE)
        size, against = abs(strength), self.expert(model, learned, unwanted_side)
        if self.form == "anti_only":
            return Mixture.weighted((base, against), (1 + size, -size))
        towards = self.expert(model, learned, wanted_side)
        return Mixture.weighted((base, towards, against), (1, size, -size))


def _of_side(learned: Learned, side: str) -> dict[str, Tensor]:
    prefix = f"{side}."
    return {key.removeprefix(prefix): x for key, x in learned.tensors.items() if key.startswith(prefix)}


def _size(learned: Learned, side: str) -> int:
    return sum(tensor.numel() for tensor in _of_side(learned, side).values())


def _has_sign(sign: int, row: Row) -> bool:
    return row.label * sign > 0
