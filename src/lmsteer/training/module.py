"""Training of a steer as a LightningModule over hidden states; it never sees the language model.

Shapes: N packed tokens, D width, K dimensions.
"""

from __future__ import annotations

import copy
import math
import time
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from lmsteer.data.datamodule import Batch
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.metrics.auc import auc
from lmsteer.models.cross_entropy import nll
from lmsteer.models.head import Head
from lmsteer.steering.steer import Steer

NOTHING = "no text is longer than one token, so there is nothing to predict; give longer texts"

Curve = dict[str, list[list[float]]]
Stop = Literal["loss", "control", "none"]


class SteerModule(pl.LightningModule):
    """Fit a steer by the language model's own loss on labelled text (paper, section 3).

    Loss is nats per token over the whole batch, of all processes; padding does not exist here. The best steer on dev is
    kept in ``best`` and, like the curve, travels with the checkpoint.

    Args:
        lr: Adam's learning rate.
        regularization: Weight of the sum of squared parameters.
        stop: By what it is the best: the dev "loss", or the "control"; "none": the last one is taken.
        world: The processes that fit together, each on a share of every batch.

    Raises:
        InputError: From ``training_step``, when the loss is not finite.
    """

    best_loss: Tensor
    """The dev loss of the best, or 1 less its control."""

    def __init__(
        self,
        steer: Steer,
        head: Head,
        *,
        lr: float = 1e-2,
        regularization: float = 0.0,
        stop: Stop = "loss",
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        if not lr > 0:
            raise InputError(f"fit.lr={lr}: a number above 0 expected")
        if not regularization >= 0:
            raise InputError(f"steer.regularization={regularization}: 0 or a number above it expected")
        self.steer = steer
        self.best = copy.deepcopy(steer).requires_grad_(False)
        self.register_buffer("best_loss", torch.tensor(float("inf")))
        self._head = [head]  # in a list: not a submodule, so no checkpoint holds the embeddings
        self.lr, self.regularization, self.stop = lr, regularization, stop
        self.process_group = process_group or ProcessGroup()
        self.curve: Curve = {"train": [], "dev": []}
        self._dev_sums: list[tuple[float, int]] = []
        self._judged: list[tuple[float, float]] = []
        self._clock = time.perf_counter()

    def nats(self, batch: Batch) -> Tensor:
        """Cross-entropy (N,) in nats of every target in the batch."""
        return nll(self._head[0], self.steer(batch.hidden_ND, batch.strength_NK), batch.targets_N)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean nats per token of one batch, plus the regularization: a share whose mean over processes is the loss."""
        nats_N = self.nats(batch)
        total, tokens = self.process_group.all_reduce_sum(nats_N.detach().sum().item(), len(nats_N))
        if not tokens:
            raise InputError(f"step {self.global_step}: {NOTHING}, or take a larger fit.batch_size")
        if not math.isfinite(total):
            raise InputError(
                f"training loss is {total / tokens} at step {self.global_step}: try a lower fit.lr (now {self.lr}) "
                f"or steer.epsilon (now {self.steer.epsilon})"
            )
        self.curve["train"].append([self.global_step + 1, total / tokens])
        now = time.perf_counter()
        self.log("train/loss", total / tokens, prog_bar=True)
        self.log("tokens/s", tokens / (now - self._clock), prog_bar=True)
        self._clock = now
        loss = nats_N.sum() * (self.process_group.size / tokens)  # processes' gradients are averaged
        if self.regularization:
            loss = loss + self.regularization * sum(p.square().sum() for p in self.steer.parameters())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one dev batch to the sums."""
        if not len(batch.targets_N):
            return
        nats = self.nats(batch)
        self._dev_sums.append((nats.cpu().double().sum().item(), len(nats)))  # on the CPU: mps has no float64
        if self.stop == "control":
            self._judged += self._evidence(batch)

    def _evidence(self, batch: Batch) -> list[tuple[float, float]]:
        """Evidence for a positive label and the label itself, of every text that has tokens."""
        assert batch.lengths_B is not None
        lengths = batch.lengths_B[batch.lengths_B > 0].tolist()
        ends = batch.strength_NK.clone(), batch.strength_NK.clone()
        ends[0][:, 0], ends[1][:, 0] = 1.0, -1.0
        up_N, down_N = (self.nats(batch._replace(strength_NK=strength_NK)) for strength_NK in ends)
        parts = zip((down_N - up_N).split(lengths), batch.strength_NK[:, 0].split(lengths), strict=True)
        return [(evidence.mean().item(), labels[0].item()) for evidence, labels in parts]

    def control(self) -> float:
        """AUC of the steer as a classifier of the dev texts seen since the last look, those with label 0 left out.

        Texts that other processes have seen count too.

        Evidence for a positive label is how much likelier a text's tokens are at strength 1 than at -1, on average.

        Raises:
            InputError: If the labels are not of both signs.
        """
        judged = [pair for part in self.process_group.all_gather(self._judged) for pair in part]
        if {label > 0 for _, label in judged if label} != {True, False}:
            raise InputError("fit.stop=control: dev rows with labels above 0 and below 0 are needed")
        scores, labels = (np.array(column) for column in zip(*((e, y) for e, y in judged if y), strict=True))
        return float(auc(scores, (labels > 0).astype(float), axis=-1))

    def on_validation_epoch_end(self) -> None:
        """Keep the steer if it is the best so far."""
        total, tokens = self.process_group.all_reduce_sum(
            *(sum(column) for column in zip((0.0, 0), *self._dev_sums, strict=True))
        )
        if not tokens:
            raise InputError(f"dev rows: {NOTHING}")
        loss = total / tokens
        self._dev_sums.clear()
        self._clock = time.perf_counter()
        self.curve["dev"].append([self.global_step, loss])
        self.log("dev/loss", loss, prog_bar=True)
        if not math.isfinite(loss):
            raise InputError(f"dev loss is {loss} at step {self.global_step}: try a lower fit.lr (now {self.lr})")
        worth = loss
        if self.stop == "control":
            control = self.control()
            self._judged.clear()
            self.curve.setdefault("control", []).append([self.global_step, control])
            self.log("dev/control", control, prog_bar=True)
            worth = 1 - control
        if worth < self.best_loss:
            self.best_loss.fill_(worth)
            self.best.load_state_dict(self.steer.state_dict())

    def chosen(self) -> Steer:
        """The steer to save: the best on dev, or the last one if there was no dev set or it did not count.

        Raises:
            InputError: If its weights are not finite, as the very last step may make them.
        """
        steer = self.best if torch.isfinite(self.best_loss) and self.stop != "none" else self.steer
        if not all(parameter.isfinite().all() for parameter in steer.parameters()):
            raise InputError(f"the fitted weights are not finite: try a lower fit.lr (now {self.lr})")
        return steer

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over the steer alone."""
        return torch.optim.Adam(self.steer.parameters(), lr=self.lr)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the curve beside the weights."""
        checkpoint["curve"] = self.curve

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the curve back."""
        self.curve = checkpoint["curve"]
