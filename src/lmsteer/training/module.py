"""Train a steer as a LightningModule over hidden states, without the language model.

Shapes: N packed tokens, D width, K dimensions.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from lmsteer.data.datamodule import Batch
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.metrics.auc import auc
from lmsteer.models import cross_entropy
from lmsteer.models.head import Head
from lmsteer.steering.steer import Steer
from lmsteer.training.fit_module import DEFAULT_OPTIMIZER, FitModule

Stop = Literal["loss", "control", "none"]


class SteerModule(FitModule[Steer]):
    """Fit a steer by the language modeling loss on labeled text (paper, section 3).

    Args:
        stop: Criterion for the best steer: the dev "loss" or the "control"; "none" selects the last steer.
        optimizer: This and the following are those of ``FitModule``.
    """

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
        super().__init__(
            steer,
            optimizer=optimizer,
            scheduler=scheduler,
            regularization=regularization,
            process_group=process_group,
        )
        self._head = [head]  # in a list: not a submodule, so no checkpoint holds the embeddings
        self.stop = stop
        self._dev_evidence: list[tuple[float, float]] = []

    @property
    def steer(self) -> Steer:
        """The steer as it is by now."""
        return self.weights

    def nll(self, batch: Batch) -> Tensor:
        """Return the negative log-likelihood (N,) of every target of the batch, in nats."""
        return cross_entropy.nll(self._head[0], self.steer(batch.hidden_ND, batch.strength_NK), batch.targets_N)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one dev batch to the totals."""
        super().validation_step(batch, batch_idx)
        if self.stop == "control" and len(batch.targets_N):
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

    def dev_score(self, loss: float) -> float:
        """Return the dev loss, or 1 - AUC for ``stop="control"``, which is logged."""
        if self.stop != "control":
            return loss
        control = self.control()
        self._dev_evidence.clear()
        self.curve.setdefault("control", []).append([self.global_step, control])
        self.log("dev/control", control, prog_bar=True)
        return 1 - control

    @property
    def keeps_best(self) -> bool:
        """Whether the best steer on dev is the result: not with ``stop="none"``."""
        return self.stop != "none"

    def _remedy(self) -> str:
        return f"{self._lower_lr()} or steer.epsilon (now {self.steer.epsilon})"
