"""Fit a steer: corpus, language model and settings in; the best steer and its origin out."""

from __future__ import annotations

import importlib.metadata
import io
import logging
import math
import pickle
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lmsteer.data.corpus import Corpus
from lmsteer.data.features import FeatureExtractor
from lmsteer.data.module import CorpusData
from lmsteer.data.store import StoreSettings
from lmsteer.errors import InputError
from lmsteer.files import whole
from lmsteer.solving import OnePassSettings, solve
from lmsteer.steering.model import LanguageModel
from lmsteer.steering.steer import DUMMY, Steer
from lmsteer.steering.store import Origin
from lmsteer.task import SteerTask, Stop

VERSIONS_OF = ("lmsteer", "torch", "transformers", "pytorch-lightning")


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a steer is fitted; the defaults are the paper's, but for the number of steps.

    Attributes:
        steps: Optimizer steps.
        batch_size: Texts per step.
        lr: Adam's learning rate.
        max_length: Tokens of a text that are used.
        dev_every: Steps between two looks at the dev loss, each of which also saves a checkpoint.
        dev_rows: Dev texts used, at most.
        rows: Train texts used, at most: a balanced choice by seed and text, part of that of a larger number. None: all.
        stop: By what the best steer is chosen at these looks: the "loss", the "control" (see ``SteerTask.control``), or
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
class SteerSettings:
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
        damping: Of the one-pass solver: share of the mean eigenvalue that is added to both covariances.
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
    damping: float = 1.0
    permutations: int = 39

    def __post_init__(self) -> None:
        if not 0 <= self.regularization < math.inf:
            raise InputError(f"steer.regularization={self.regularization}: 0 or a number above it expected")
        self.one_pass()  # impossible values are refused, whichever solver is chosen

    def one_pass(self) -> OnePassSettings:
        """The part that is for the one-pass solver."""
        return OnePassSettings(
            rank=self.rank, epsilon=self.epsilon, damping=self.damping, permutations=self.permutations
        )

    def build(self, width: int, seed: int) -> Steer:
        """A fresh steer for hidden states of size ``width``, the attribute's dimension first."""
        dimensions = (self.name, DUMMY) if self.dummy and self.solver == "paper" else (self.name,)
        return Steer(
            width, dimensions=dimensions, rank=self.rank, epsilon=self.epsilon, init_std=self.init_std, seed=seed
        )


def fit(
    model: LanguageModel,
    corpus: Corpus,
    what: SteerSettings,
    how: FitSettings | None = None,
    *,
    seed: int = 0,
    folder: Path | None = None,
    logger: Logger | None = None,
    store: StoreSettings | None = None,
) -> tuple[Steer, Origin]:
    """Fit a steer on a corpus and return it with its origin: by the paper's recipe the best on dev, or in one pass.

    Args:
        seed: Fixes the initial weights, with the step the batches, which rows are used if not all, and permutations.
        store: Where hidden states are kept for later steps and runs; None: nowhere.
        folder: Where checkpoints go; a fit that was stopped there goes on from the last one. None: no checkpoints.
    """
    how, store = how or FitSettings(), store or StoreSettings(where="off")
    steer = what.build(model.width, seed)
    source = corpus.digest()  # which texts the rows are a choice of, whatever the seed
    corpus = corpus if how.rows is None else corpus.subset(how.rows, seed)
    if what.solver == "one_pass":
        found, training = _solved(model, corpus, what, how, seed, store)
    else:
        found, training = _learned(model, corpus, steer, what, how, seed, store, folder, logger)
    sizes = {"train_rows": len(corpus.train), "dev_rows": len(corpus.dev[: how.dev_rows])}
    removed = dict(corpus.removed)
    origin = Origin(
        model=model.name,
        fingerprint=model.head.fingerprint(),
        meaning={what.name: what.meaning},
        corpus={"name": corpus.name, "digest": corpus.digest(), "source": source, **sizes, "removed": removed},
        seed=seed,
        versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
        training=training,
    )
    return found, origin


def _solved(
    model: LanguageModel, corpus: Corpus, what: SteerSettings, how: FitSettings, seed: int, store: StoreSettings
) -> tuple[Steer, dict[str, Any]]:
    """By the one-pass solver; options of the other one are noted as unused."""
    if not corpus.train:
        raise InputError(f"corpus {corpus.name} has no rows to learn from; at least one is needed")
    dev = corpus.dev[: how.dev_rows] or corpus.train[: how.dev_rows]
    label_BK = torch.tensor([[row.label] for row in corpus.train])
    steer, found = solve(
        model,
        [row.text for row in corpus.train],
        label_BK,
        [what.name],
        what.one_pass(),
        unit_texts=[row.text for row in dev],
        max_length=how.max_length,
        seed=seed,
        store=store,
    )
    used = {"max_length": how.max_length, "dev_rows": how.dev_rows, "rows": how.rows}
    options = {"solver": what.solver, "rank": what.rank, "damping": what.damping, "permutations": what.permutations}
    unused = {name: value for name, value in asdict(how).items() if name not in used}
    unused |= {"regularization": what.regularization, "init_std": what.init_std}
    return steer, {**used, **options, "unused": unused, "found": found[what.name]}


def _learned(
    model: LanguageModel,
    corpus: Corpus,
    steer: Steer,
    what: SteerSettings,
    how: FitSettings,
    seed: int,
    store: StoreSettings,
    folder: Path | None,
    logger: Logger | None,
) -> tuple[Steer, dict[str, Any]]:
    """By the paper's recipe."""
    extract = FeatureExtractor(model, max_length=how.max_length)
    data = CorpusData(
        corpus,
        extract if how.legacy_padding else store.wrap(extract),
        dimensions=len(steer.dimensions),
        batch_size=how.batch_size,
        steps=how.steps,
        dev_rows=how.dev_rows,
        seed=seed,
        store_all=store.everything,
        by_batch=extract.padded if how.legacy_padding else None,
    )
    task = SteerTask(steer, model.head, lr=how.lr, regularization=what.regularization, stop=how.stop)
    _train(task, data, how, model.device, folder, logger)
    options = {"regularization": what.regularization, "init_std": what.init_std, "solver": what.solver}
    return task.chosen(), {**asdict(how), **options, "curve": task.curve}


def _train(
    task: SteerTask,
    data: CorpusData,
    settings: FitSettings,
    device: torch.device,
    folder: Path | None,
    logger: Logger | None,
) -> None:
    checkpoint = None if folder is None else folder / "last.ckpt"
    callbacks: list[pl.Callback] = [TQDMProgressBar(refresh_rate=1)]
    if checkpoint is not None:
        # Saved after the dev loss is known, so that a resumed fit has it; without dev rows every so many steps.
        every = None if data.dev else settings.dev_every
        callbacks.append(
            ModelCheckpoint(
                checkpoint.parent,
                filename=checkpoint.stem,
                every_n_train_steps=every,
                save_on_train_epoch_end=False,
                enable_version_counter=False,
            )
        )
    quiet_lightning()
    trainer = pl.Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=1,
        max_steps=settings.steps,
        limit_val_batches=1.0 if data.dev else 0,
        val_check_interval=min(settings.dev_every, settings.steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=logger or False,
        log_every_n_steps=1,
        callbacks=callbacks,
        enable_checkpointing=checkpoint is not None,
        enable_model_summary=False,
        default_root_dir=str(folder) if folder else None,
    )
    trainer.strategy.checkpoint_io = WholeCheckpoints()
    resume = checkpoint if checkpoint is not None and checkpoint.exists() else None
    if resume is not None:
        _check_readable(resume)
    trainer.fit(task, datamodule=data, ckpt_path=str(resume) if resume else None, weights_only=True)


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or absent.

    Lightning's own are written to the system's temporary folder first, which is often on another disk: then they are
    copied from there, and a process that is killed meanwhile leaves half of one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint beside its place, then rename it."""
        data = io.BytesIO()
        torch.save(checkpoint, data)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with whole(Path(path)) as temporary:
            temporary.write_bytes(data.getbuffer())


def _check_readable(checkpoint: Path) -> None:
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{checkpoint}: damaged checkpoint; delete its folder to fit from the beginning") from error


def quiet_lightning() -> None:
    """Keep Lightning's notices on hardware, workers and other products out of the run's output."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
