"""Options of the Lightning trainer that this program decides itself; imports nothing heavy."""

from collections.abc import Mapping
from typing import Any

from lmsteer.errors import InputError

RUN_DIR, MAX_STEPS = "hydra.run.dir decides", "trainer.max_steps decides"
REFUSED = {
    "accelerator": "device decides",
    "accumulate_grad_batches": "the loss is the mean over the tokens of one batch; take a larger data.batch_size",
    "barebones": "a fit needs validation, checkpoints and loggers",
    "callbacks": "callbacks decides",
    "check_val_every_n_epoch": "trainer.val_check_interval decides",
    "default_root_dir": RUN_DIR,
    "enable_checkpointing": RUN_DIR,
    "fast_dev_run": MAX_STEPS,
    "limit_train_batches": MAX_STEPS,
    "limit_val_batches": "data.dev_rows decides",
    "logger": "logger decides",
    "max_epochs": MAX_STEPS,
    "min_epochs": MAX_STEPS,
    "min_steps": MAX_STEPS,
    "num_nodes": "srun decides",
    "num_sanity_val_steps": "the first validation comes after trainer.val_check_interval steps",
    "overfit_batches": "data.rows decides",
    "plugins": "trainer.strategy decides",
    "reload_dataloaders_every_n_epochs": "there is one epoch",
    "use_distributed_sampler": "every process takes its shard of each batch",
}
"""Options that other options decide, or that would break a promise; with the reason."""


def check_trainer_options(options: Mapping[str, Any]) -> None:
    """Refuse options of ``pytorch_lightning.Trainer`` that this program decides itself, and impossible steps.

    Raises:
        InputError: With the option to use instead.

    Example:
        >>> check_trainer_options({"max_epochs": 3})
        Traceback (most recent call last):
        lmsteer.errors.InputError: trainer.max_epochs: trainer.max_steps decides
    """
    for name in options:
        if name in REFUSED:
            raise InputError(f"trainer.{name}: {REFUSED[name]}")
    for name in ("max_steps", "val_check_interval"):
        if name in options and (type(options[name]) is not int or options[name] < 1):
            raise InputError(f"trainer.{name}={options[name]}: an integer of 1 or more expected")
