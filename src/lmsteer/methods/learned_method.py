"""Methods of one strength: options, what they learned, and the mixture of sources at a strength."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.errors import InputError
from lmsteer.generation.generator import Generator
from lmsteer.methods.fit_cache import FitCache
from lmsteer.methods.method import Method
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Controller, Mixture
from lmsteer.steering.dimensions import is_strength
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import Solver, describe_fit
from lmsteer.training.gradient_solver import GradientSolver

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


@dataclass(frozen=True)
class FitJob:
    """All that a method may learn from.

    Attributes:
        data: The corpus in batches, and the language model.
        attribute: Name of the attribute; labels above 0 have more of it.
        solver: Optimizer, scheduler, callbacks and trainer of methods that are trained.
        folder: Folder of checkpoints. None: write none.
        cache: What other methods have tuned.
    """

    data: SteerDataModule
    attribute: str
    solver: GradientSolver
    folder: Path | None = None
    loggers: Sequence[Logger] = ()
    cache: FitCache = field(default_factory=FitCache)

    @property
    def model(self) -> LanguageModel:
        """The language model."""
        return self.data.extract.model

    def module_options(self, lr: float | None = None) -> dict[str, Any]:
        """Return optimizer, scheduler and processes for a ``FitModule``.

        Args:
            lr: Learning rate in place of the optimizer's.
        """
        optimizer = self.solver.optimizer if lr is None else partial(self.solver.optimizer, lr=lr)
        return {"optimizer": optimizer, "scheduler": self.solver.scheduler, "process_group": self.data.process_group}

    @cached_property
    def identity(self) -> tuple[object, ...]:
        """Return all that a training depends on, besides what is trained, its learning rate and the code."""
        data, state = self.data, hashlib.sha256()
        rows = (*data.corpus.train, *data.dev)
        for row, text in zip(rows, data.texts(rows), strict=True):
            state.update(repr((row.label, text)).encode())
        options = self.solver.bound_options, self.solver.settings()
        sizes = data.seed, data.batch_size, data.max_length, len(data.dev)
        return state.hexdigest(), options, sizes, self.model.fingerprint(), str(self.model.device)

    def settings(self, lr: float | None = None) -> dict[str, Any]:
        """Return the options of the training that the file records."""
        steps = self.solver.bound_options["max_steps"]
        settings = {"steps": steps, "batch_size": self.data.batch_size, "rows": self.data.max_rows}
        rate = {} if lr is None else {"lr": lr}
        return settings | {**self.solver.settings()} | rate | {"seen": self.data.count_seen(steps)}


@dataclass(frozen=True)
class Learned:
    """What a method learned.

    Attributes:
        tensors: Weights by name.
        values: Plain values that it needs, such as the words of a list.
        training: Options and curve of the training, for people; ``seen`` are the rows and tokens that were read.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


class LearnedMethod(Method):
    """A method of one strength. Its options are the fields of a frozen dataclass, stored with what it learned.

    A method of your own is a subclass with ``mixture``, and ``learn`` if it learns something; see CONTRIBUTING. Options
    are plain values, whose ranges ``__post_init__`` checks: they are also read from files of others.

    Attributes:
        value_kinds: Types of the entries of ``Learned.values`` that a file must have, such as ``list[str]``.
    """

    file_name: ClassVar[str] = "method.safetensors"
    value_kinds: ClassVar[Mapping[str, Any]] = {}

    def check(self, steer_config: SteerConfig, solver: Solver) -> None:
        """Refuse any solver but gradient descent."""
        if not isinstance(solver, GradientSolver):
            raise InputError(f"method={self.name} with another solver than gradient: set solver=gradient")

    def check_data(self, data: SteerDataModule, steer_config: SteerConfig, solver: Solver) -> None:
        """Accept every corpus and model; a method that needs both classes refuses others here."""

    def check_prompts(self, generators: Iterable[Generator], steer_config: SteerConfig) -> None:
        """Accept all prompts that the plain model accepts."""

    def dimensions(self, steer_config: SteerConfig, solver: Solver) -> tuple[str, ...]:
        """Return the attribute alone."""
        return (steer_config.name,)

    def fit(
        self,
        data: SteerDataModule,
        steer_config: SteerConfig,
        solver: Solver,
        *,
        folder: Path | None = None,
        loggers: Sequence[Logger] = (),
        cache: FitCache | None = None,
    ) -> tuple[Controller, Provenance]:
        """Learn from a corpus."""
        assert isinstance(solver, GradientSolver)
        self.check_data(data, steer_config, solver)
        job = FitJob(data, steer_config.name, solver, folder, loggers, cache or FitCache())
        learned = self.learn(job)
        if folder and data.process_group.is_rank_zero:
            self.write_for_others(folder.parent, job.model, learned)
        provenance = describe_fit(data, steer_config, {**self.options(), **learned.training})
        seed = provenance.seed if self.uses_seed(data.max_rows) else None
        return FittedMethod(self, steer_config.name, learned), replace(provenance, seed=seed)

    def learn(self, job: FitJob) -> Learned:
        """Learn from the corpus. By default there is nothing to learn."""
        return Learned()

    @abstractmethod
    def mixture(self, model: LanguageModel, learned: Learned, strength: float) -> Mixture:
        """Return the distribution of the next token at a strength other than 0."""

    def check_learned(self, model: LanguageModel, learned: Learned, path: Path) -> None:
        """Refuse what was learned for another model; called when a file is read.

        Raises:
            InputError: Naming the file.
        """

    def held_parameters(self, learned: Learned, strength: float) -> int:
        """Return the number of parameters that a strength needs: all, unless a method says otherwise."""
        return sum(tensor.numel() for tensor in learned.tensors.values())

    def write_for_others(self, folder: Path, model: LanguageModel, learned: Learned) -> None:
        """Write what other tools can read to a folder, if there is such a format."""

    def options(self) -> dict[str, Any]:
        """Return the options, as plain values."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]


def check_packed(data: SteerDataModule, name: str) -> None:
    """Refuse data that count padding, which only the losses of steers and offsets do.

    Raises:
        InputError: Naming the option; ``name`` is that of the method.
    """
    if data.counts_padding:
        raise InputError(f"method={name} with data=padded: its loss counts no padding; set data=packed")


def check_positive(**options: float) -> None:
    """Refuse options of a method that are not finite numbers above 0.

    Raises:
        InputError: Naming the option.

    Example:
        >>> check_positive(rank=0)
        Traceback (most recent call last):
        lmsteer.errors.InputError: method.rank=0: a finite number above 0 expected
    """
    for name, value in options.items():
        if not 0 < value < float("inf"):
            raise InputError(f"method.{name}={value}: a finite number above 0 expected")


@dataclass(frozen=True)
class FittedMethod:
    """A method with what it learned: a ``Controller`` of one attribute."""

    method: LearnedMethod
    attribute: str
    learned: Learned

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The attribute alone."""
        return (self.attribute,)

    @property
    def trained_parameters(self) -> int:
        """Number of parameters that the fit has set."""
        return sum(tensor.numel() for tensor in self.learned.tensors.values())

    def held_parameters(self, strength: Mapping[str, float]) -> int:
        """Return the number of parameters that a strength needs."""
        return self.method.held_parameters(self.learned, float(strength.get(self.attribute, 0.0)))

    def settings(self) -> dict[str, Any]:
        """Return the options of the method."""
        return self.method.options()

    def strengths(self, strength: Mapping[str, float]) -> Tensor:
        """Return the strength as a vector (1,).

        Raises:
            InputError: If a name is not the attribute, or the value is not finite.
        """
        for name, value in strength.items():
            if name != self.attribute:
                raise InputError(f"strength {name}={value}: the {self.method.name} is of {self.attribute}")
            if not is_strength(value):
                raise InputError(f"strength {name}={value}: a finite float32 number expected")
        return torch.tensor([float(strength.get(self.attribute, 0.0))])

    def at(self, model: LanguageModel, strength: Mapping[str, float]) -> Mixture:
        """Return the distribution of the next token at a strength; 0 is the plain model."""
        self.strengths(strength)
        value = float(strength.get(self.attribute, 0.0))
        return self.method.mixture(model, self.learned, value) if value else Mixture.plain(model)
