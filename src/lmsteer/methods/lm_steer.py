"""The rows of steers: a matrix on the last hidden state (Han et al., 2024), and a constant vector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.generation.generator import Generator
from lmsteer.methods.fit_cache import FitCache
from lmsteer.methods.learned_method import check_positive
from lmsteer.methods.method import Method
from lmsteer.models.mixture import Controller
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.schedule import CountSchedule, with_schedules
from lmsteer.steering.steer_config import Form, SteerConfig
from lmsteer.training.fit import Solver, fit_on
from lmsteer.training.gate_config import GateConfig

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


@dataclass(frozen=True, kw_only=True)
class LMSteer(Method):
    """Fit a ``Steer``, with any solver; its other options are those of the groups ``steer`` and ``solver``.

    Attributes:
        schedule: How the strength of the attribute changes with the text, or the gate to fit. None: it is constant. The
            fit does not see it.
    """

    name: ClassVar[str] = "lm-steer"
    file_name: ClassVar[str] = "steer.safetensors"
    form: ClassVar[Form | None] = None
    """Form of the steer, in place of that of its configuration."""
    schedule: CountSchedule | GateConfig | None = None

    def check(self, steer_config: SteerConfig, solver: Solver) -> None:
        """Accept every solver."""

    def check_data(self, data: SteerDataModule, steer_config: SteerConfig, solver: Solver) -> None:
        """Refuse a rank that the model's width does not allow, and prompts that a gate cannot learn from."""
        self._config(steer_config).build(data.extract.model.width, data.seed)
        if isinstance(self.schedule, GateConfig):
            self.schedule.read()

    def check_prompts(self, generators: Iterable[Generator], steer_config: SteerConfig) -> None:
        """Accept all prompts that the plain model accepts."""

    def dimensions(self, steer_config: SteerConfig, solver: Solver) -> tuple[str, ...]:
        """Return the attribute, and the dummy where the solver has one."""
        return solver.dimensions(steer_config)

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
        """Fit a steer, and the gate of its schedule."""
        steer, provenance = fit_on(data, self._config(steer_config), solver, folder=folder, loggers=loggers)
        if self.schedule is None:
            return steer, provenance
        schedule = self.schedule.fit(data.extract.model) if isinstance(self.schedule, GateConfig) else self.schedule
        return with_schedules(steer, {steer_config.name: schedule}), provenance

    def _config(self, steer_config: SteerConfig) -> SteerConfig:
        return replace(steer_config, form=self.form) if self.form else steer_config


@dataclass(frozen=True, kw_only=True)
class ConstantVector(LMSteer):
    """Fit a steer of form "add": one vector, added to the last hidden state in every context.

    It shows what the matrix of a steer adds to a shift that is the same everywhere.

    Attributes:
        epsilon: Factor of the vector, above 0, in place of that of a matrix, which is multiplied by a hidden state.
    """

    name: ClassVar[str] = "constant_vector"
    form: ClassVar[Form | None] = "add"
    epsilon: float = 1.0

    def __post_init__(self) -> None:
        check_positive(epsilon=self.epsilon)

    def _config(self, steer_config: SteerConfig) -> SteerConfig:
        return replace(super()._config(steer_config), epsilon=self.epsilon)
