"""Small fits by gradient descent, for tests that vary a few options of the solver and of the data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import fit
from lmsteer.training.gradient_solver import GradientSolver
from lmsteer.training.module import SteerModule, Stop


@dataclass(frozen=True, kw_only=True)
class GradientFit:
    """Options of a fit; called with a model, a corpus and a steer, it fits."""

    steps: int = 100
    dev_every: int = 25
    lr: float = 1e-2
    stop: Stop = "loss"
    batch_size: int = 32
    max_length: int = 256
    rows: int | None = None
    dev_rows: int = 256
    datamodule: type[SteerDataModule] = SteerDataModule

    @property
    def solver(self) -> GradientSolver:
        return GradientSolver(
            module=partial(SteerModule, stop=self.stop),
            optimizer=partial(torch.optim.Adam, lr=self.lr),
            trainer={"max_steps": self.steps, "val_check_interval": self.dev_every},
        )

    @property
    def data(self) -> Callable[..., SteerDataModule]:
        names = ("batch_size", "max_length", "rows", "dev_rows")
        return partial(self.datamodule, **{name: getattr(self, name) for name in names})

    def __call__(
        self, model: LanguageModel, corpus: Corpus, steer_config: SteerConfig, **options: Any
    ) -> tuple[Steer, Provenance]:
        return fit(model, corpus, steer_config, self.solver, data=self.data, **options)
