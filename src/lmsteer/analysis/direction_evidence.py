"""What labelled texts say of the directions of a steer.

Shapes: B texts, N packed tokens, D width, R directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.metrics.auc import auc
from lmsteer.metrics.intervals import Array, Interval, bootstrap_interval
from lmsteer.models.cross_entropy import loglik_gradient
from lmsteer.steering.directions import Directions

AT_ONCE = 64
"""Texts whose hidden states are held together."""


@dataclass(frozen=True)
class Reading:
    """Sums over the tokens of each text, for several sets of directions; the rest is of the first set.

    Attributes:
        evidence_BR: ``Directions.evidence`` by text, for each set.
        pull_BR: ``pull . u`` by text: the evidence but for its factor ``epsilon size (c . v)``.
        activation_NR: ``c . v`` of every context.
        targets_N: The token behind each context.
        lengths_B: Number of contexts of each text.
        mean_D: Mean context.
    """

    evidence_BR: list[Tensor]
    pull_BR: Tensor
    activation_NR: Tensor
    targets_N: Tensor
    lengths_B: Tensor
    mean_D: Tensor

    def turned(self, signs_R: Tensor) -> Reading:
        """What would have been read if the first set had been ``Directions.turned``."""
        return replace(self, pull_BR=self.pull_BR * signs_R, activation_NR=self.activation_NR * signs_R)

    def alike(self, found: Directions) -> Tensor:
        """The evidence by text (B, R) if each direction acted alike in all contexts, at its mean activation."""
        level_R = self.activation_NR.mean(0) * found.sizes_R.to(self.activation_NR) * found.epsilon
        return self.pull_BR * level_R


def read(extract: FeatureExtractor, texts: Sequence[str], sets: Sequence[Directions]) -> Reading:
    """Go through texts once, for all sets of directions.

    Raises:
        InputError: If no text has two tokens.
    """
    head, parts = extract.model.head, []
    with tqdm(total=len(texts), desc="reading", unit="text") as progress:
        for start in range(0, len(texts), AT_ONCE):
            features = extract(texts[start : start + AT_ONCE])
            hidden_ND = features.hidden_ND.to(torch.promote_types(head.weight.dtype, torch.float32))
            pull_ND = loglik_gradient(head, hidden_ND, features.targets_N)
            by_token = [pull_ND @ sets[0].output_DR.to(pull_ND), *(one.evidence(hidden_ND, pull_ND) for one in sets)]
            by_text = [_by_text(one, features.lengths) for one in by_token]
            contexts = [sets[0].activations(hidden_ND), features.targets_N, features.lengths, hidden_ND.sum(0)[None]]
            parts.append([tensor.cpu() for tensor in (*contexts, *by_text)])
            progress.update(len(features.lengths))
    activation_NR, targets_N, lengths_B, sums, pull_BR, *evidence_BR = map(torch.cat, zip(*parts, strict=True))
    if not len(targets_N):
        raise InputError(f"{len(texts)} texts: none has two tokens, so there is nothing to predict in them")
    return Reading(evidence_BR, pull_BR, activation_NR, targets_N, lengths_B, sums.sum(0) / len(targets_N))


def _by_text(values_NR: Tensor, lengths_B: Tensor) -> Tensor:
    sums_BR = values_NR.new_zeros(len(lengths_B), values_NR.shape[1])
    return sums_BR.index_add_(0, torch.repeat_interleave(lengths_B), values_NR)


class Judged:
    """How the evidence (B, R) of directions goes with the labels (B,) of texts; those with label 0 are left out.

    Attributes:
        evidence_BR: Of the texts that are left.
        plus_B: 1 where the label is above 0, else 0.

    Raises:
        InputError: If the labels that are left are not of both signs.
    """

    def __init__(self, evidence_BR: Tensor, labels_B: Sequence[float], *, seed: int = 0) -> None:
        labels = np.asarray(labels_B, dtype=float)
        self.evidence_BR: Array = evidence_BR.double().numpy()[labels != 0]
        self.plus_B: Array = (labels[labels != 0] > 0).astype(float)
        self.seed = seed
        if not 0 < self.plus_B.sum() < len(self.plus_B):
            plus = int(self.plus_B.sum())
            raise InputError(
                f"data: {plus} rows with a label above 0, {len(self.plus_B) - plus} below; some of each are needed"
            )

    @property
    def separation(self) -> Array:
        """Mean evidence of texts above 0 less that of texts below (R,), in nats per unit of strength."""
        plus = self.plus_B == 1
        found: Array = self.evidence_BR[plus].mean(0) - self.evidence_BR[~plus].mean(0)
        return found

    @property
    def shares(self) -> Array:
        """Share of each direction in the separation (R,); they add up to 1, and one that misleads is negative."""
        found: Array = self.separation / (self.separation.sum() or 1.0)
        return found

    @property
    def alone(self) -> Array:
        """AUC of each direction (R,)."""
        return self._aucs(self.evidence_BR)

    @property
    def together(self) -> Array:
        """AUC of the sum of the first 1, 2, … directions (R,)."""
        return self._aucs(self.evidence_BR.cumsum(1))

    def interval(self, chosen: int | slice) -> Interval:
        """AUC of one direction, or of the sum of several, with its bootstrap interval over texts."""
        evidence_BR = self.evidence_BR[:, chosen].reshape(len(self.plus_B), -1)
        return bootstrap_interval([evidence_BR.sum(1), self.plus_B], auc, seed=self.seed)

    def _aucs(self, evidence_BR: Array) -> Array:
        columns_RB = evidence_BR.T
        return auc(columns_RB, np.broadcast_to(self.plus_B, columns_RB.shape), axis=-1)
