"""Fit a steer on a labeled corpus, by gradient descent or in one pass."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.loggers import Logger

from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.feature_store import FeatureStore, FeatureStoreConfig
from lmsteer.data.features import FeatureExtractor
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.solver import LabeledTexts, solve
from lmsteer.reference.padded_batches import PaddedExtractor
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.training.fit_config import FitConfig, SteerConfig
from lmsteer.training.module import SteerModule
from lmsteer.training.optimization import Optimization
from lmsteer.training.trainer import train

VERSIONS_OF = ("lmsteer", "torch", "transformers", "pytorch-lightning")


@dataclass(frozen=True, kw_only=True)
class FitEnvironment:
    """The stores, logger and processes that a fit uses; none of them changes its result.

    Attributes:
        store: Feature store of hidden states for later steps and runs.
        folder: Folder of checkpoints; a fit resumes from the last one there. None: write no checkpoints.
        loggers: Lightning loggers of the training curve.
        process_group: Processes that fit together; all of them call ``fit``.
    """

    store: FeatureStoreConfig = field(default_factory=lambda: FeatureStoreConfig(where="off"))
    folder: Path | None = None
    loggers: Sequence[Logger] = ()
    process_group: ProcessGroup = field(default_factory=ProcessGroup)


@dataclass(frozen=True)
class FitJob:
    """Everything that one fit needs: model, data, options and environment.

    Attributes:
        corpus: Labeled corpus, before ``fit_config.rows`` is applied.
        seed: Seed of the initial weights, the choice of rows, the permutations and, with the step, the batches.
        optimization: Optimizer, scheduler, callbacks and Lightning options of the gradient solver.
    """

    model: LanguageModel
    corpus: Corpus
    steer_config: SteerConfig
    fit_config: FitConfig = field(default_factory=FitConfig)
    seed: int = 0
    environment: FitEnvironment = field(default_factory=FitEnvironment)
    optimization: Optimization = field(default_factory=Optimization)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steer_config", self.steer_config.for_width(self.model.width))

    @cached_property
    def rows(self) -> Corpus:
        """The corpus with at most ``fit_config.rows`` training rows."""
        limit = self.fit_config.rows
        return self.corpus if limit is None else self.corpus.subset(limit, self.seed)

    def build_steer(self) -> Steer:
        """Initialize the steer."""
        return self.steer_config.build(self.model.width, self.seed)

    def extractor(self) -> FeatureExtractor:
        """Build the extractor of hidden states."""
        return FeatureExtractor(self.model, max_length=self.fit_config.max_length)

    def data_module(self) -> SteerDataModule:
        """Build the batches of the gradient solver."""
        fit_config, store, extract = self.fit_config, self.environment.store, self.extractor()
        return SteerDataModule(
            self.rows,
            extract if fit_config.legacy_padding else store.wrap(extract),
            dimensions=len(self.build_steer().dimensions),
            batch_size=fit_config.batch_size,
            steps=fit_config.steps,
            dev_rows=fit_config.dev_rows,
            seed=self.seed,
            store_all=store.everything,
            by_batch=PaddedExtractor(extract) if fit_config.legacy_padding else None,
            process_group=self.environment.process_group,
        )

    def check(self) -> None:
        """Refuse a fit that cannot begin, before anything is written.

        Raises:
            InputError: If the rank does not suit the model, or there are fewer rows than processes.
        """
        self.build_steer()
        if self.steer_config.solver == "paper":
            self.data_module()
        elif (rows := len(self.rows.train)) < (size := self.environment.process_group.size):
            raise InputError(f"train rows: {rows}, but {size} processes; one for each is needed")

    def run(self) -> tuple[Steer, Provenance]:
        """Fit the steer; see ``fit``."""
        steer_config, corpus = self.steer_config, self.rows
        steer, training = _fit_one_pass(self) if steer_config.solver == "one_pass" else _fit_by_gradient(self)
        if steer_config.form != "matrix":  # files older than this option lack it, so the default is not written
            training["form"] = steer_config.form
        provenance = Provenance(
            model=self.model.name,
            fingerprint=self.model.head.fingerprint(),
            meaning={steer_config.name: steer_config.meaning},
            corpus={
                "name": corpus.name,
                "digest": corpus.digest(),
                "source": self.corpus.digest(),
                "train_rows": len(corpus.train),
                "dev_rows": len(corpus.dev[: self.fit_config.dev_rows]),
                "removed": dict(corpus.removed),
            },
            seed=self.seed,
            versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
            training=training,
        )
        return steer, provenance


def fit(
    model: LanguageModel,
    corpus: Corpus,
    steer_config: SteerConfig,
    fit_config: FitConfig | None = None,
    *,
    seed: int = 0,
    environment: FitEnvironment | None = None,
    optimization: Optimization | None = None,
) -> tuple[Steer, Provenance]:
    """Fit a steer on a labeled corpus and return it with its provenance.

    Args:
        fit_config: Options of the training loop. None: the defaults.
        seed: Seed of the initial weights, the batches, the choice of rows and the permutations.
        environment: Stores, logger and processes. None: store nothing, do not log, use this process alone.
        optimization: Optimizer and scheduler, such as ``Optimization(optimizer=partial(torch.optim.SGD, lr=0.1))``.
            None: Adam with a learning rate of 0.01.

    Raises:
        InputError: If options are impossible, the corpus has no rows to train on, or the loss is not finite.

    Example:
        >>> rows = [Row("a fine film", 1), Row("a dull film", -1)] * 8  # doctest: +SKIP
        >>> steer, provenance = fit(model, Corpus("mine", rows), SteerConfig(name="tone"))  # doctest: +SKIP
    """
    job = FitJob(
        model,
        corpus,
        steer_config,
        fit_config or FitConfig(),
        seed,
        environment or FitEnvironment(),
        optimization or Optimization(),
    )
    return job.run()


def _fit_one_pass(job: FitJob) -> tuple[Steer, dict[str, Any]]:
    """Fit with the one-pass solver; record options that only the gradient solver reads as unused."""
    corpus, steer_config, fit_config = job.rows, job.steer_config, job.fit_config
    job.build_steer()  # refuses an impossible rank
    if not corpus.train:
        raise InputError(f"corpus {corpus.name} has no rows to learn from; at least one is needed")
    dev = corpus.dev[: fit_config.dev_rows] or corpus.train[: fit_config.dev_rows]
    label_B = torch.tensor([row.label for row in corpus.train])
    data = LabeledTexts([row.text for row in corpus.train], label_B, [row.text for row in dev])
    extract = job.environment.store.wrap(job.extractor())
    if isinstance(extract, FeatureStore) and job.environment.store.everything:
        extract.add([*data.texts, *data.unit_texts])
    steer, result = solve(
        steer_config.name,
        data,
        extract,
        steer_config.one_pass(),
        seed=job.seed,
        process_group=job.environment.process_group,
    )
    used = {name: getattr(fit_config, name) for name in ("max_length", "dev_rows", "rows")}
    options = {
        name: getattr(steer_config, name) for name in ("solver", "rank", "damping", "context_damping", "permutations")
    }
    unused = {name: value for name, value in asdict(fit_config).items() if name not in used}
    unused |= {
        "lr": job.optimization.lr,
        "regularization": steer_config.regularization,
        "init_std": steer_config.init_std,
    }
    return steer, {**used, **options, "unused_options": unused, "solver_result": result}


def _fit_by_gradient(job: FitJob) -> tuple[Steer, dict[str, Any]]:
    """Fit by gradient descent (paper, section 3)."""
    steer_config, fit_config, environment = job.steer_config, job.fit_config, job.environment
    module = SteerModule(
        job.build_steer(),
        job.model.head,
        optimization=job.optimization,
        regularization=steer_config.regularization,
        stop=fit_config.stop,
        process_group=environment.process_group,
    )
    train(
        module,
        job.data_module(),
        dev_every=fit_config.dev_every,
        device=job.model.device,
        folder=environment.folder,
        loggers=environment.loggers,
    )
    options = {name: getattr(steer_config, name) for name in ("regularization", "init_std", "solver")}
    settings = {**asdict(fit_config), **job.optimization.settings(), **options}
    return module.best_steer(), {**settings, "curve": module.curve}
