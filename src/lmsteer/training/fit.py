"""Fit a steer on a labeled corpus with one of the solvers."""

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pytorch_lightning.loggers import Logger

from lmsteer.data.corpus import TEXT_RULE, Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.gradient_solver import GradientSolver

VERSIONS_OF = ("lmsteer", "torch", "transformers", "pytorch-lightning")


class Solver(Protocol):
    """A way to fit a steer: ``GradientSolver``, ``OnePassSolver``, or one of your own."""

    def dimensions(self, steer_config: SteerConfig) -> tuple[str, ...]:
        """Return the names of the dimensions of the steer; the attribute is the first."""
        ...

    def fit(
        self, steer_config: SteerConfig, data: SteerDataModule, *, folder: Path | None, loggers: Sequence[Logger]
    ) -> tuple[Steer, dict[str, Any]]:
        """Return the steer, and the options and results that its file records."""
        ...


@dataclass(frozen=True, kw_only=True)
class FitEnvironment:
    """The stores, loggers and processes that a fit uses; none of them changes its result.

    Attributes:
        store: Feature store of hidden states for later steps and runs.
        folder: Folder of checkpoints; a fit resumes from the last one there. None: write no checkpoints.
        loggers: Lightning loggers of the training curve.
        process_group: Processes that fit together; all of them call ``fit``.

    Example:
        >>> FitEnvironment(store=FeatureStoreConfig(where="auto")).process_group.size
        1
    """

    store: FeatureStoreConfig = field(default_factory=lambda: FeatureStoreConfig(where="off"))
    folder: Path | None = None
    loggers: Sequence[Logger] = ()
    process_group: ProcessGroup = field(default_factory=ProcessGroup)


def fit(
    model: LanguageModel,
    corpus: Corpus,
    steer_config: SteerConfig,
    solver: Solver | None = None,
    *,
    data: Callable[..., SteerDataModule] = SteerDataModule,
    seed: int = 0,
    environment: FitEnvironment | None = None,
) -> tuple[Steer, Provenance]:
    """Fit a steer on a labeled corpus and return it with its provenance.

    Args:
        solver: ``GradientSolver`` or ``OnePassSolver``. None: gradient descent with Adam, 100 steps.
        data: ``SteerDataModule`` with its options bound, such as ``partial(SteerDataModule, batch_size=16)``.
        seed: Seed of the initial weights, the batches, the choice of rows and the permutations.
        environment: Stores, loggers and processes. None: store nothing, do not log, use this process alone.

    Raises:
        InputError: If options are impossible, the corpus has no rows to train on, or the loss is not finite.

    Example:
        >>> from lmsteer.models.random_models import tiny
        >>> from lmsteer.records import Row
        >>> corpus = Corpus("mine", train=(Row("a fine film", 1.0), Row("a dull film", -1.0)))
        >>> solver = GradientSolver(trainer={"max_steps": 2, "enable_progress_bar": False})
        >>> steer, provenance = fit(tiny(), corpus, SteerConfig(name="tone", rank=4), solver)
        >>> steer.dimensions, provenance.training["solver"]
        (('tone', 'dummy'), 'gradient')
    """
    solver, environment = solver or GradientSolver(), environment or FitEnvironment()
    datamodule = data(
        corpus,
        model,
        dimensions=len(solver.dimensions(steer_config)),
        seed=seed,
        store=environment.store,
        process_group=environment.process_group,
    )
    return fit_on(datamodule, steer_config, solver, folder=environment.folder, loggers=environment.loggers)


def fit_on(
    datamodule: SteerDataModule,
    steer_config: SteerConfig,
    solver: Solver,
    *,
    folder: Path | None = None,
    loggers: Sequence[Logger] = (),
) -> tuple[Steer, Provenance]:
    """Fit a steer on the corpus of a data module and return it with its provenance; see ``fit``."""
    model = datamodule.extract.model
    steer_config = steer_config.for_width(model.width)
    steer_config.build(model.width, datamodule.seed)  # refuses an impossible rank
    steer, training = solver.fit(steer_config, datamodule, folder=folder, loggers=loggers)
    if steer_config.form != "matrix":  # files older than this option lack it, so the default is not written
        training["form"] = steer_config.form
    return steer, describe_fit(datamodule, steer_config, training)


def describe_fit(datamodule: SteerDataModule, steer_config: SteerConfig, training: dict[str, Any]) -> Provenance:
    """Return the provenance of a fit on the corpus of a data module; ``training`` holds its options and results."""
    model, corpus = datamodule.extract.model, datamodule.corpus
    return Provenance(
        model=model.name,
        fingerprint=model.head.fingerprint(),
        commit=model.commit,
        meaning={steer_config.name: steer_config.meaning},
        corpus={
            "name": corpus.name,
            "digest": corpus.digest(),
            "source": datamodule.source.digest(),
            "train_rows": len(corpus.train),
            "dev_rows": len(datamodule.dev),
            "removed": dict(corpus.removed),
            "text_rule": TEXT_RULE,
        },
        seed=datamodule.seed,
        versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
        training=training,
    )
