"""The interface of a method, a row of the tables: it learns from a corpus and then controls a model at a strength."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.generation.generator import Generator
from lmsteer.methods.fit_cache import FitCache
from lmsteer.models.mixture import Controller
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import Solver

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


class Method(ABC):
    """A row of the tables.

    Attributes:
        name: Name of the row.
        file_name: Name of its file in a run folder.
        reads_corpus: Whether the fit reads texts.
    """

    name: ClassVar[str]
    file_name: ClassVar[str]
    reads_corpus: ClassVar[bool] = True

    def uses_seed(self, rows: int | None) -> bool:
        """Return whether the fit depends on the training seed; a sweep over seeds measures another method once.

        Args:
            rows: Number of training rows that the seed chooses. None: all are there, whatever the seed.
        """
        return True

    @abstractmethod
    def check(self, steer_config: SteerConfig, solver: Solver) -> None:
        """Refuse options of the fit that do not go together, before any work.

        Raises:
            InputError: Naming the options.
        """

    @abstractmethod
    def check_data(self, data: SteerDataModule, steer_config: SteerConfig, solver: Solver) -> None:
        """Refuse a corpus or a model that the method cannot learn from, before anything is written.

        Raises:
            InputError: Naming what it lacks.
        """

    @abstractmethod
    def check_prompts(self, generators: Iterable[Generator], steer_config: SteerConfig) -> None:
        """Refuse prompts that the fitted method could not continue, before anything is written.

        Raises:
            InputError: Naming the prompt.
        """

    @abstractmethod
    def dimensions(self, steer_config: SteerConfig, solver: Solver) -> tuple[str, ...]:
        """Return the names of the strengths; the attribute is the first."""

    @abstractmethod
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
        """Learn from a corpus; return what controls the model, with its provenance.

        Args:
            folder: Folder of checkpoints, from which an interrupted fit resumes. None: write none.
            cache: What other methods have tuned. None: no cache.

        Raises:
            InputError: If the corpus lacks what the method learns from.
        """
