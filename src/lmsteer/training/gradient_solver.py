"""Fit a steer by gradient descent with PyTorch Lightning."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import Logger
from torch.optim.lr_scheduler import LRScheduler

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.errors import InputError
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.checkpoints import AtomicCheckpoints, LastCheckpoint
from lmsteer.training.fit_module import DEFAULT_OPTIMIZER, FitModule, learning_rate
from lmsteer.training.module import SteerModule
from lmsteer.training.quiet import quiet_lightning
from lmsteer.training.trainer_options import check_trainer_options

RECORDED_APART = ("max_steps", "val_check_interval", "strategy", "devices")
"""Options of the trainer that have names of their own in steer files, or do not change the result."""


@dataclass(frozen=True, kw_only=True)
class GradientSolver:
    """Fit a steer by gradient descent on the loss (paper, section 3), with a Lightning trainer.

    Attributes:
        module: Called with the steer and the head; a ``SteerModule`` with its options bound.
        optimizer: Called with the parameters; a ``torch.optim`` class with its options bound.
        scheduler: Called with the optimizer; steps once after every optimizer step. None: a constant learning rate.
        callbacks: Further Lightning callbacks, by name.
        trainer: ``pytorch_lightning.Trainer`` with its options bound, or these options alone; ``max_steps`` is 100 and
            ``val_check_interval`` 25 unless they are given. Each validation also saves a checkpoint.

    Raises:
        InputError: If the learning rate is out of range, or an option of the trainer is unknown, impossible or decided
            elsewhere.

    Example:
        >>> from functools import partial
        >>> sgd = GradientSolver(optimizer=partial(torch.optim.SGD, lr=0.1), trainer={"max_steps": 20})
        >>> sgd.settings()["optimizer"]
        {'name': 'SGD'}
    """

    module: Callable[..., SteerModule] = SteerModule
    optimizer: Callable[..., torch.optim.Optimizer] = DEFAULT_OPTIMIZER
    scheduler: Callable[[torch.optim.Optimizer], LRScheduler] | None = None
    callbacks: Mapping[str, pl.Callback] = field(default_factory=dict)
    trainer: Callable[..., pl.Trainer] | Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < learning_rate(self.optimizer) <= 1e37:  # beyond it the arithmetic of optimizers fails
            raise InputError(f"optimizer.lr={learning_rate(self.optimizer)}: a number above 0, at most 1e37, expected")
        check_trainer_options(self.bound_options)
        known = inspect.signature(pl.Trainer.__init__).parameters
        for name in self.trainer_options():
            if name not in known:
                raise InputError(f"trainer.{name}: no option of pytorch_lightning.Trainer")
        if self.trainer_options():
            self._try_trainer()

    @property
    def bound_options(self) -> dict[str, Any]:
        """The options of the trainer that were given, and the defaults of this solver."""
        options = self.trainer if isinstance(self.trainer, Mapping) else _bound(self.trainer)
        return {"max_steps": 100, "val_check_interval": 25, **options}

    def trainer_options(self) -> dict[str, Any]:
        """Return the options of the trainer that change the fit and are not its defaults."""
        defaults = inspect.signature(pl.Trainer.__init__).parameters
        return {
            name: value
            for name, value in self.bound_options.items()
            if name not in RECORDED_APART and not (name in defaults and value == defaults[name].default)
        }

    def _try_trainer(self) -> None:
        """Refuse values that Lightning refuses, before any work."""
        quiet_lightning()
        options = self.trainer_options()
        try:
            pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **options)
        except (MisconfigurationException, ImportError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"trainer.{'/'.join(options)}: refused by Lightning ({reason})") from error

    def dimensions(self, steer_config: SteerConfig) -> tuple[str, ...]:
        """Return the dimensions of the steer: the attribute, and the dummy where there is one."""
        return steer_config.dimensions

    def fit(
        self,
        steer_config: SteerConfig,
        data: SteerDataModule,
        *,
        folder: Path | None = None,
        loggers: Sequence[Logger] = (),
    ) -> tuple[Steer, dict[str, Any]]:
        """Fit a steer and return it with its options and its loss curve.

        Args:
            folder: Folder of the checkpoint, from which an interrupted training resumes. None: write no checkpoint.
            loggers: Lightning loggers of the training curve.

        Raises:
            InputError: If the checkpoint in ``folder`` is damaged, or the loss is not finite.
        """
        model = data.extract.model
        module = self.module(
            steer_config.build(model.width, data.seed),
            model.head,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            regularization=steer_config.regularization,
            process_group=data.process_group,
        )
        self.run(module, data, data, folder=folder, loggers=loggers)
        training = self._record(module, data) | {
            "regularization": steer_config.regularization,
            "init_std": steer_config.init_std,
            "solver": "gradient",
            "seen": data.count_seen(self.bound_options["max_steps"]),
        }
        return module.best(), training | {"curve": module.curve}

    def run(
        self,
        module: FitModule[Any],
        data: SteerDataModule,
        batches: pl.LightningDataModule,
        *,
        folder: Path | None,
        loggers: Sequence[Logger] = (),
    ) -> None:
        """Train a module with the trainer, callbacks and processes of this solver; resume from the checkpoint.

        Args:
            data: The corpus and the processes.
            batches: The batches of the module.

        Raises:
            InputError: As ``fit`` does.
        """
        data.check_batches()
        every = None if data.dev else self.bound_options["val_check_interval"]
        checkpoint = LastCheckpoint(folder, every) if folder else None
        trainer = self._build_trainer(data, checkpoint, loggers)
        resumed = checkpoint.resumed_path() if checkpoint else None
        trainer.fit(module, datamodule=batches, ckpt_path=resumed, weights_only=True)

    def _build_trainer(
        self, data: SteerDataModule, checkpoint: LastCheckpoint | None, loggers: Sequence[Logger]
    ) -> pl.Trainer:
        quiet_lightning()
        group, device = data.process_group, data.extract.model.device
        is_distributed = group.size > 1
        build = pl.Trainer if isinstance(self.trainer, Mapping) else self.trainer
        steps, interval = self.bound_options["max_steps"], self.bound_options["val_check_interval"]
        options = {"enable_model_summary": False, "log_every_n_steps": 1, **self.trainer_options()}
        bar = [TQDMProgressBar(refresh_rate=1)] if options.get("enable_progress_bar", True) else []
        trainer = build(
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=group.local_size if is_distributed else [device.index] if device.index else 1,
            num_nodes=group.nodes,
            strategy="ddp" if is_distributed else "auto",
            plugins=TorchElasticEnvironment() if is_distributed else None,  # reads what ProcessGroup.join sets
            use_distributed_sampler=False,
            max_steps=steps,
            limit_val_batches=1.0 if data.dev else 0,
            val_check_interval=min(interval, steps),
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            logger=list(loggers) or False,
            callbacks=[*bar, *self.callbacks.values(), *([checkpoint] if checkpoint else [])],
            enable_checkpointing=checkpoint is not None,
            default_root_dir=str(checkpoint.dirpath) if checkpoint else None,
            **options,
        )
        trainer.strategy.checkpoint_io = AtomicCheckpoints()
        return trainer

    def _record(self, module: SteerModule, data: SteerDataModule) -> dict[str, Any]:
        """Return the options that steer files record, under the names that they have there."""
        return {
            "steps": self.bound_options["max_steps"],
            "batch_size": data.batch_size,
            "max_length": data.max_length,
            "dev_every": self.bound_options["val_check_interval"],
            "dev_rows": data.dev_rows,
            "rows": data.max_rows,
            "stop": module.stop,
            "legacy_padding": data.counts_padding,
            **self.settings(),
        }

    def settings(self) -> dict[str, Any]:
        """Return the learning rate, and what is not the default of optimizer, scheduler, callbacks and trainer."""
        settings: dict[str, Any] = {"lr": learning_rate(self.optimizer)}
        options = {name: value for name, value in _bound(self.optimizer).items() if name != "lr"}
        if _name(self.optimizer) != "Adam" or options:
            settings["optimizer"] = {"name": _name(self.optimizer), **options}
        if self.scheduler is not None:
            settings["scheduler"] = {"name": _name(self.scheduler), **_bound(self.scheduler)}
        if self.callbacks:
            settings["callbacks"] = sorted(type(callback).__name__ for callback in self.callbacks.values())
        if options := self.trainer_options():
            settings["trainer"] = options
        return settings


def _bound(factory: Any) -> dict[str, Any]:
    return dict(getattr(factory, "keywords", {}))


def _name(factory: Any) -> str:
    return str(getattr(factory, "func", factory).__name__)
