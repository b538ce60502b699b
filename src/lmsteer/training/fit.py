"""Fit a steer: corpus, language model and settings in; the best steer and its origin out."""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning.loggers import Logger

from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.data.features import FeatureExtractor
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.solver import Form, OnePassConfig, solve
from lmsteer.steering.steer import DUMMY, Steer
from lmsteer.steering.steer_file import Provenance
from lmsteer.training.module import SteerModule, Stop
from lmsteer.training.trainer import train

VERSIONS_OF = ("lmsteer", "torch", "transformers", "pytorch-lightning")


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a steer is fitted; the defaults are the paper's, but for the number of steps.

    Attributes:
        steps: Optimizer steps.
        batch_size: Texts per step.
        lr: Adam's learning rate.
        max_length: Tokens of a text that are used.
        dev_every: Steps between two looks at the dev loss, each of which also saves a checkpoint.
        dev_rows: Dev texts used, at most.
        rows: Train texts used, at most: a balanced choice by seed and text, part of that of a larger number. None: all.
        stop: By what the best steer is chosen at these looks: the "loss", the "control" (see ``SteerModule.control``), or
            "none", which takes the last one.
        legacy_padding: Count the padding of a training batch in its loss, as the reference implementation does. For
            measuring what that does; hidden states are not stored then, and the dev loss stays without padding.
    """

    steps: int = 100
    batch_size: int = 32
    lr: float = 1e-2
    max_length: int = 256
    dev_every: int = 25
    dev_rows: int = 256
    rows: int | None = None
    stop: Stop = "loss"
    legacy_padding: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "dev_every", "dev_rows"):
            if getattr(self, name) < 1:
                raise InputError(f"fit.{name}={getattr(self, name)}: an integer of 1 or more expected")
        if self.rows is not None and self.rows < 2:
            raise InputError(f"fit.rows={self.rows}: 2 rows or more expected, or null for all")
        if self.max_length < 2:
            raise InputError(f"fit.max_length={self.max_length}: 2 or more tokens expected")
        if not 0 < self.lr <= 1e37:  # beyond it Adam's own arithmetic fails
            raise InputError(f"fit.lr={self.lr}: a number above 0, at most 1e37, expected")


@dataclass(frozen=True, kw_only=True)
class SteerConfig:
    """What is fitted: one attribute, and beside it the dummy.

    Attributes:
        name: Name of the attribute's dimension; a label of +1 is its strength +1.
        meaning: What positive strength means, for people.
        rank: Columns of P1 and P2, or "full".
        init_std: Standard deviation of the initial weights.
        dummy: Whether an always-on dimension takes up the corpus' own style (paper, section 3).
        regularization: Weight of the sum of squared parameters in the loss.
        solver: "paper": gradient descent on the loss. "one_pass": one natural-gradient step, from sums over the
            corpus (docs/one_pass.md), without initial weights, dummy or regularization. Its rank is ``rank`` at most:
            as many directions as stand above the null.
        form: "matrix": what the paper learns. "add": a constant vector, added to the hidden state whatever the context.
            "both": their sum. The dummy has the same form.
        damping: Of the one-pass solver: share of the mean eigenvalue that is added to both covariances.
        context_damping: Of the one-pass solver: the same for the covariance of contexts alone; None: as ``damping``.
        permutations: Of the one-pass solver: permutations of the labels that make the null; 0: no null.
    """

    name: str
    meaning: str = ""
    rank: int | Literal["full"] = 64
    epsilon: float = 1e-3
    init_std: float = 1e-2
    dummy: bool = True
    regularization: float = 0.0
    solver: Literal["paper", "one_pass"] = "paper"
    form: Form = "matrix"
    damping: float = 1.0
    context_damping: float | None = None
    permutations: int = 199

    def __post_init__(self) -> None:
        if not 0 <= self.regularization < math.inf:
            raise InputError(f"steer.regularization={self.regularization}: 0 or a number above it expected")
        self.one_pass()  # impossible values are refused, whichever solver is chosen

    def one_pass(self) -> OnePassConfig:
        """The part that is for the one-pass solver."""
        return OnePassConfig(
            rank=self.rank,
            epsilon=self.epsilon,
            damping=self.damping,
            context_damping=self.context_damping,
            permutations=self.permutations,
            form=self.form,
        )

    def build(self, width: int, seed: int) -> Steer:
        """A fresh steer for hidden states of size ``width``, the attribute's dimension first.

        Raises:
            InputError: If the rank is not in [1, width] or "full"; for a constant alone it does not count.
        """
        if self.rank == 0 and self.form != "add":  # a file may hold a constant alone; asked for here it is a slip
            raise InputError(f"steer.rank=0: an integer in [1, {width}] or 'full' expected")
        dimensions = (self.name, DUMMY) if self.dummy and self.solver == "paper" else (self.name,)
        return Steer(
            width,
            dimensions=dimensions,
            rank=0 if self.form == "add" else self.rank,
            epsilon=self.epsilon,
            init_std=self.init_std,
            seed=seed,
            bias=self.form != "matrix",
        )


def fit(
    model: LanguageModel,
    corpus: Corpus,
    steer_config: SteerConfig,
    fit_config: FitConfig | None = None,
    *,
    seed: int = 0,
    folder: Path | None = None,
    logger: Logger | None = None,
    store: FeatureStoreConfig | None = None,
    process_group: ProcessGroup | None = None,
) -> tuple[Steer, Provenance]:
    """Fit a steer on a corpus and return it with its origin: by the paper's recipe the best on dev, or in one pass.

    Args:
        seed: Fixes the initial weights, with the step the batches, which rows are used if not all, and permutations.
        store: Where hidden states are kept for later steps and runs; None: nowhere.
        folder: Where checkpoints go; a fit that was stopped there goes on from the last one. None: no checkpoints.
        world: The processes that fit together, all of which call this; None: one.
    """
    fit_config, store, process_group = (
        fit_config or FitConfig(),
        store or FeatureStoreConfig(where="off"),
        process_group or ProcessGroup(),
    )
    steer = steer_config.build(model.width, seed)
    source = corpus.digest()  # which texts the rows are a choice of, whatever the seed
    corpus = corpus if fit_config.rows is None else corpus.subset(fit_config.rows, seed)
    if steer_config.solver == "one_pass":
        found, training = _solved(model, corpus, steer_config, fit_config, seed, store, process_group)
    else:
        found, training = _learned(
            model, corpus, steer, steer_config, fit_config, seed, store, folder, logger, process_group
        )
    if steer_config.form != "matrix":  # the rows of a table that was made before there were forms name none
        training["form"] = steer_config.form
    sizes = {"train_rows": len(corpus.train), "dev_rows": len(corpus.dev[: fit_config.dev_rows])}
    removed = dict(corpus.removed)
    provenance = Provenance(
        model=model.name,
        fingerprint=model.head.fingerprint(),
        meaning={steer_config.name: steer_config.meaning},
        corpus={"name": corpus.name, "digest": corpus.digest(), "source": source, **sizes, "removed": removed},
        seed=seed,
        versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
        training=training,
    )
    return found, provenance


def _solved(
    model: LanguageModel,
    corpus: Corpus,
    steer_config: SteerConfig,
    fit_config: FitConfig,
    seed: int,
    store: FeatureStoreConfig,
    process_group: ProcessGroup,
) -> tuple[Steer, dict[str, Any]]:
    """By the one-pass solver; options of the other one are noted as unused."""
    if not corpus.train:
        raise InputError(f"corpus {corpus.name} has no rows to learn from; at least one is needed")
    dev = corpus.dev[: fit_config.dev_rows] or corpus.train[: fit_config.dev_rows]
    steer, result = solve(
        model,
        [row.text for row in corpus.train],
        torch.tensor([row.label for row in corpus.train]),
        steer_config.name,
        steer_config.one_pass(),
        unit_texts=[row.text for row in dev],
        max_length=fit_config.max_length,
        seed=seed,
        store=store,
        process_group=process_group,
    )
    used = {"max_length": fit_config.max_length, "dev_rows": fit_config.dev_rows, "rows": fit_config.rows}
    options = {
        name: getattr(steer_config, name) for name in ("solver", "rank", "damping", "context_damping", "permutations")
    }
    unused = {name: value for name, value in asdict(fit_config).items() if name not in used}
    unused |= {"regularization": steer_config.regularization, "init_std": steer_config.init_std}
    return steer, {**used, **options, "unused_options": unused, "solver_result": result}


def _learned(
    model: LanguageModel,
    corpus: Corpus,
    steer: Steer,
    steer_config: SteerConfig,
    fit_config: FitConfig,
    seed: int,
    store: FeatureStoreConfig,
    folder: Path | None,
    logger: Logger | None,
    process_group: ProcessGroup,
) -> tuple[Steer, dict[str, Any]]:
    """By the paper's recipe."""
    data = training_data(
        model, corpus, fit_config, dimensions=len(steer.dimensions), seed=seed, store=store, process_group=process_group
    )
    task = SteerModule(
        steer,
        model.head,
        lr=fit_config.lr,
        regularization=steer_config.regularization,
        stop=fit_config.stop,
        process_group=process_group,
    )
    train(
        task,
        data,
        steps=fit_config.steps,
        dev_every=fit_config.dev_every,
        device=model.device,
        folder=folder,
        logger=logger,
    )
    options = {
        "regularization": steer_config.regularization,
        "init_std": steer_config.init_std,
        "solver": steer_config.solver,
    }
    return task.chosen(), {**asdict(fit_config), **options, "curve": task.curve}


def training_data(
    model: LanguageModel,
    corpus: Corpus,
    fit_config: FitConfig,
    *,
    dimensions: int,
    seed: int,
    store: FeatureStoreConfig,
    process_group: ProcessGroup | None = None,
) -> SteerDataModule:
    """The batches from which the paper's recipe learns a steer of so many dimensions."""
    extract = FeatureExtractor(model, max_length=fit_config.max_length)
    return SteerDataModule(
        corpus,
        extract if fit_config.legacy_padding else store.wrap(extract),
        dimensions=dimensions,
        batch_size=fit_config.batch_size,
        steps=fit_config.steps,
        dev_rows=fit_config.dev_rows,
        seed=seed,
        store_all=store.everything,
        by_batch=extract.padded if fit_config.legacy_padding else None,
        process_group=process_group,
    )
