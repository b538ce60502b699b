"""Train a steer as a LightningModule over hidden states, without the language model.

Shapes: N packed tokens, D width, K dimensions.
"""

import copy
import inspect
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from lmsteer.data.datamodule import Batch
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.metrics.auc import auc
from lmsteer.models import cross_entropy
from lmsteer.models.head import Head
from lmsteer.steering.steer import Steer

NO_TARGETS = "no text is longer than one token, so there is nothing to predict; give longer texts"

DEFAULT_OPTIMIZER = partial(torch.optim.Adam, lr=1e-2)
Curve = dict[str, list[list[float]]]
Stop = Literal["loss", "control", "none"]


def learning_rate(optimizer: Callable[..., torch.optim.Optimizer]) -> float:
    """Return the learning rate of an optimizer's class with its options bound, at the first step."""
    default = inspect.signature(optimizer).parameters["lr"].default
    return float(getattr(optimizer, "keywords", {}).get("lr", default))


class SteerModule(pl.LightningModule):
    """Fit a steer by the language modeling loss on labeled text (paper, section 3).

    The loss is in nats per token over the batch of all processes, without padding. Checkpoints hold the best steer on
    dev (``best``) and the curve.

    Args:
        optimizer: Called with the parameters; a ``torch.optim`` class with its options bound.
        scheduler: Called with the optimizer; steps once after every optimizer step. None: a constant learning rate.
        regularization: Weight of the sum of squared parameters.
        stop: Criterion for the best steer: the dev "loss" or the "control"; "none" selects the last steer.
        process_group: Processes that fit together, each on a shard of every batch.

    Raises:
        InputError: From ``training_step``, when the loss is not finite.
    """

    best_loss: Tensor
    """Best dev score so far, lower is better: loss, or 1 - AUC for ``stop="control"``."""

    def __init__(
        self,
        steer: Steer,
        head: Head,
        *,
        optimizer: Callable[..., torch.optim.Optimizer] = DEFAULT_OPTIMIZER,
        scheduler: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
        regularization: float = 0.0,
        stop: Stop = "loss",
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self.steer = steer
        self.best = copy.deepcopy(steer).requires_grad_(False)
        self.register_buffer("best_loss", torch.tensor(float("inf")))
        self._head = [head]  # in a list: not a submodule, so no checkpoint holds the embeddings
        self.optimizer, self.scheduler = optimizer, scheduler
        self.regularization, self.stop = regularization, stop
        self.process_group = process_group or ProcessGroup()
        self.curve: Curve = {"train": [], "dev": []}
        self._dev_totals: list[tuple[float, int]] = []
        self._dev_evidence: list[tuple[float, float]] = []
        self._clock = time.perf_counter()

    def nll(self, batch: Batch) -> Tensor:
        """Return the negative log-likelihood (N,) of every target of the batch, in nats."""
        return cross_entropy.nll(self._head[0], self.steer(batch.hidden_ND, batch.strength_NK), batch.targets_N)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return this process' loss, whose mean over processes is nats per token plus the regularization."""
        nll_N = self.nll(batch)
        total, tokens = self.process_group.all_reduce_sum(nll_N.detach().sum().item(), len(nll_N))
        if not tokens:
            raise InputError(f"step {self.global_step}: {NO_TARGETS}, or take a larger data.batch_size")
        if not math.isfinite(total):
            raise InputError(
                f"training loss is {total / tokens} at step {self.global_step}: {self._lower_lr()} "
                f"or steer.epsilon (now {self.steer.epsilon})"
            )
        self.curve["train"].append([self.global_step + 1, total / tokens])
        now = time.perf_counter()
        self.log("train/loss", total / tokens, prog_bar=True)
        self.log("tokens/s", tokens / (now - self._clock), prog_bar=True)
        self._clock = now
        loss = nll_N.sum() * (self.process_group.size / tokens)  # DDP averages the gradients of the processes
        if self.regularization:
            loss = loss + self.regularization * sum(p.square().sum() for p in self.steer.parameters())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one dev batch to the totals."""
        if not len(batch.targets_N):
            return
        nll_N = self.nll(batch).cpu()  # mps has no float64
        self._dev_totals.append((nll_N.double().sum().item(), len(nll_N)))
        if self.stop == "control":
            self._dev_evidence += self._label_evidence(batch)

    def _label_evidence(self, batch: Batch) -> list[tuple[float, float]]:
        """Return the evidence for a positive label and the label, for every text that has tokens."""
        assert batch.lengths_B is not None
        lengths = batch.lengths_B[batch.lengths_B > 0].tolist()
        ends = batch.strength_NK.clone(), batch.strength_NK.clone()
        ends[0][:, 0], ends[1][:, 0] = 1.0, -1.0
        up_N, down_N = (self.nll(batch._replace(strength_NK=strength_NK)) for strength_NK in ends)
        per_text = zip((down_N - up_N).split(lengths), batch.strength_NK[:, 0].split(lengths), strict=True)
        return [(evidence.mean().item(), labels[0].item()) for evidence, labels in per_text]

    def control(self) -> float:
        """Compute the AUC of the steer as a classifier of the dev texts of this validation, of all processes.

        The evidence for a positive label is the mean log-likelihood ratio of a text's tokens at strength 1 and -1.
        Texts with label 0 are left out.

        Raises:
            InputError: If the labels are not of both signs.
        """
        evidence = [pair for shard in self.process_group.all_gather(self._dev_evidence) for pair in shard]
        if {label > 0 for _, label in evidence if label} != {True, False}:
            raise InputError("module.stop=control: dev rows with labels above 0 and below 0 are needed")
        scores, labels = (np.array(column) for column in zip(*((e, y) for e, y in evidence if y), strict=True))
        return float(auc(scores, (labels > 0).astype(float), axis=-1))

    def on_validation_epoch_end(self) -> None:
        """Log the dev scores and copy the steer if it is the best so far."""
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
        score = loss
        if self.stop == "control":
            control = self.control()
            self._dev_evidence.clear()
            self.curve.setdefault("control", []).append([self.global_step, control])
            self.log("dev/control", control, prog_bar=True)
            score = 1 - control
        if score < self.best_loss:
            self.best_loss.fill_(score)
            self.best.load_state_dict(self.steer.state_dict())

    def best_steer(self) -> Steer:
        """Return the best steer on dev, or the last one without dev rows or with ``stop="none"``.

        Raises:
            InputError: If its weights are not finite, which the last step can cause.
        """
        steer = self.best if torch.isfinite(self.best_loss) and self.stop != "none" else self.steer
        if not all(parameter.isfinite().all() for parameter in steer.parameters()):
            raise InputError(f"the fitted weights are not finite: {self._lower_lr()}")
        return steer.float()  # of any trainer.precision

    def _lower_lr(self) -> str:
        return f"try a lower optimizer.lr (now {learning_rate(self.optimizer)})"

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer of the steer's parameters, and the scheduler that follows each of its steps."""
        optimizer = self.optimizer(self.steer.parameters())
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the curve to the checkpoint."""
        checkpoint["curve"] = self.curve

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the curve."""
        self.curve = checkpoint["curve"]
