"""Optimizer, scheduler, callbacks and Lightning options of the gradient solver."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch.optim.lr_scheduler import LRScheduler

from lmsteer.errors import InputError
from lmsteer.training.quiet import quiet_lightning

DEFAULT_LR = 1e-2
FIT_STEPS, RUN_DIR = "fit.steps decides", "hydra.run.dir decides"
REFUSED = {
    "accelerator": "device decides",
    "accumulate_grad_batches": "the loss is the mean over the tokens of one batch; take a larger fit.batch_size",
    "callbacks": "callbacks decides",
    "check_val_every_n_epoch": "fit.dev_every decides",
    "default_root_dir": RUN_DIR,
    "enable_checkpointing": RUN_DIR,
    "limit_train_batches": FIT_STEPS,
    "limit_val_batches": "fit.dev_rows decides",
    "logger": "logger decides",
    "max_epochs": FIT_STEPS,
    "max_steps": FIT_STEPS,
    "min_epochs": FIT_STEPS,
    "min_steps": FIT_STEPS,
    "num_nodes": "srun decides",
    "num_sanity_val_steps": "the first validation comes after fit.dev_every steps",
    "overfit_batches": "fit.rows decides",
    "plugins": "strategy decides",
    "reload_dataloaders_every_n_epochs": "there is one epoch",
    "use_distributed_sampler": "every process takes its shard of each batch",
    "val_check_interval": "fit.dev_every decides",
}
"""Options of the Lightning trainer that other options decide, or that would break a promise; with the reason."""


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """How the gradient solver updates a steer.

    Attributes:
        optimizer: Called with the parameters; a ``torch.optim`` class with its options bound.
        scheduler: Called with the optimizer; steps once after every optimizer step. None: a constant learning rate.
        callbacks: Further Lightning callbacks, by name.
        trainer: Further options of ``pytorch_lightning.Trainer``, such as ``gradient_clip_val``.

    Raises:
        InputError: If the learning rate is out of range, or an option of the trainer is unknown or decided elsewhere.
    """

    optimizer: Callable[..., torch.optim.Optimizer] = field(default=partial(torch.optim.Adam, lr=DEFAULT_LR))
    scheduler: Callable[[torch.optim.Optimizer], LRScheduler] | None = None
    callbacks: Mapping[str, pl.Callback] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.lr <= 1e37:  # beyond it the arithmetic of optimizers fails
            raise InputError(f"optimizer.lr={self.lr}: a number above 0, at most 1e37, expected")
        known = inspect.signature(pl.Trainer.__init__).parameters
        for name in self.trainer:
            if name in REFUSED:
                raise InputError(f"trainer.{name}: {REFUSED[name]}")
            if name not in known:
                raise InputError(f"trainer.{name}: no option of pytorch_lightning.Trainer")
        if self.trainer:
            self._try_trainer()

    def _try_trainer(self) -> None:
        """Refuse values that Lightning refuses, before any work."""
        quiet_lightning()
        try:
            pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **self.trainer)
        except (MisconfigurationException, ImportError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"trainer.{'/'.join(self.trainer)}: refused by Lightning ({reason})") from error

    @property
    def lr(self) -> float:
        """The learning rate at the first step."""
        bound = _bound(self.optimizer)
        default = inspect.signature(self.optimizer).parameters.get("lr")
        return float(bound.get("lr", default.default if default else DEFAULT_LR))

    def settings(self) -> dict[str, Any]:
        """Return the options that steer files record: the learning rate, and everything that is not the default."""
        settings: dict[str, Any] = {"lr": self.lr}
        options = {name: value for name, value in _bound(self.optimizer).items() if name != "lr"}
        if _name(self.optimizer) != "Adam" or options:
            settings["optimizer"] = {"name": _name(self.optimizer), **options}
        if self.scheduler is not None:
            settings["scheduler"] = {"name": _name(self.scheduler), **_bound(self.scheduler)}
        if self.callbacks:
            settings["callbacks"] = sorted(type(callback).__name__ for callback in self.callbacks.values())
        if self.trainer:
            settings["trainer"] = dict(self.trainer)
        return settings


def _bound(factory: Any) -> dict[str, Any]:
    return dict(getattr(factory, "keywords", {}))


def _name(factory: Any) -> str:
    return str(getattr(factory, "func", factory).__name__)
