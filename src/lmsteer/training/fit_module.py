"""Train weights by the language modeling loss on labeled texts, as a LightningModule; the best on dev are kept.

Shapes: N packed tokens.
"""

import copy
import inspect
import math
import time
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError

NO_TARGETS = "no text is longer than one token, so there is nothing to predict; give longer texts"

DEFAULT_OPTIMIZER = partial(torch.optim.Adam, lr=1e-2)
Curve = dict[str, list[list[float]]]
WeightsT = TypeVar("WeightsT", bound=nn.Module)


def learning_rate(optimizer: Callable[..., torch.optim.Optimizer]) -> float:
    """Return the learning rate of an optimizer's class with its options bound, at the first step."""
    default = inspect.signature(optimizer).parameters["lr"].default
    return float(getattr(optimizer, "keywords", {}).get("lr", default))


class FitModule(pl.LightningModule, Generic[WeightsT]):
    """Fit weights by the language modeling loss.

    The loss is in nats per token over the batch of all processes, without padding. Checkpoints hold the best weights on
    dev and the curve.

    Args:
        weights: What is trained.
        optimizer: Called with the parameters; a ``torch.optim`` class with its options bound.
        scheduler: Called with the optimizer; steps once after every optimizer step. None: a constant learning rate.
        regularization: Weight of the sum of squared parameters.
        process_group: Processes that fit together, each on a shard of every batch.

    Raises:
        InputError: From ``training_step``, when the loss is not finite.
    """

    needs_tokens: ClassVar[bool] = True
    """Whether a batch without targets is refused; otherwise it changes nothing."""
    best_loss: Tensor
    """Best dev score so far, lower is better."""

    def __init__(
        self,
        weights: WeightsT,
        *,
        optimizer: Callable[..., torch.optim.Optimizer] = DEFAULT_OPTIMIZER,
        scheduler: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
        regularization: float = 0.0,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.best_weights = copy.deepcopy(weights).requires_grad_(False)
        self.register_buffer("best_loss", torch.tensor(float("inf")))
        self.optimizer, self.scheduler = optimizer, scheduler
        self.regularization = regularization
        self.process_group = process_group or ProcessGroup()
        self.curve: Curve = {"train": [], "dev": []}
        self._dev_totals: list[tuple[float, int]] = []
        self._clock = time.perf_counter()

    @abstractmethod
    def nll(self, batch: Any) -> Tensor:
        """Return the negative log-likelihood (N,) of every target of the batch, in nats."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return this process' loss, whose mean over processes is nats per token plus the regularization."""
        nll_N = self.nll(batch)
        total, tokens = self.process_group.all_reduce_sum(nll_N.detach().sum().item(), len(nll_N))
        if not tokens and self.needs_tokens:
            raise InputError(f"step {self.global_step}: {NO_TARGETS}, or take a larger data.batch_size")
        tokens = max(tokens, 1)
        if not math.isfinite(total):
            raise InputError(f"training loss is {total / tokens} at step {self.global_step}: {self._remedy()}")
        self.curve["train"].append([self.global_step + 1, total / tokens])
        now = time.perf_counter()
        self.log("train/loss", total / tokens, prog_bar=True)
        self.log("tokens/s", tokens / (now - self._clock), prog_bar=True)
        self._clock = now
        loss = nll_N.sum() * (self.process_group.size / tokens)  # DDP averages the gradients of the processes
        if self.regularization:
            loss = loss + self.regularization * sum(p.square().sum() for p in self.weights.parameters())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add one dev batch to the totals."""
        if len(batch.targets_N):
            nll_N = self.nll(batch).cpu()  # mps has no float64
            self._dev_totals.append((nll_N.double().sum().item(), len(nll_N)))

    def on_validation_epoch_end(self) -> None:
        """Log the dev scores and copy the weights if they are the best so far."""
        total, tokens = self.process_group.all_reduce_sum(
            *(sum(column) for column in zip((0.0, 0), *self._dev_totals, strict=True))
        )
        if not tokens:
            raise InputError(f"dev rows: {NO_TARGETS}")
        loss = total / tokens
        self._dev_totals.clear()
        self._clock = time.perf_counter()
        self.curve["dev"].append([self.global_step, loss])
        self.log("dev/loss", loss, prog_bar=True)
        if not math.isfinite(loss):
            raise InputError(f"dev loss is {loss} at step {self.global_step}: {self._lower_lr()}")
        score = self.dev_score(loss)
        if score < self.best_loss:
            self.best_loss.fill_(score)
            self.best_weights.load_state_dict(self.weights.state_dict())

    def dev_score(self, loss: float) -> float:
        """Return the score by which the best weights are chosen, lower is better: the dev loss."""
        return loss

    @property
    def keeps_best(self) -> bool:
        """Whether the best weights on dev are the result, rather than the last ones."""
        return True

    def best(self) -> WeightsT:
        """Return the best weights on dev, or the last ones without dev rows.

        Raises:
            InputError: If they are not finite, which the last step can cause.
        """
        weights = self.best_weights if torch.isfinite(self.best_loss) and self.keeps_best else self.weights
        if not all(parameter.isfinite().all() for parameter in weights.parameters()):
            raise InputError(f"the fitted weights are not finite: {self._lower_lr()}")
        return weights.float()  # of any trainer.precision

    def _lower_lr(self) -> str:
        return f"try a lower optimizer.lr (now {learning_rate(self.optimizer)})"

    def _remedy(self) -> str:
        return self._lower_lr()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer of the parameters, and the scheduler that follows each of its steps."""
        optimizer = self.optimizer(self.weights.parameters())
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the curve to the checkpoint."""
        checkpoint["curve"] = self.curve

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the curve."""
        self.curve = checkpoint["curve"]
