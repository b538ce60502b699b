"""Evidence of labeled texts for the directions of a steer.

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
from lmsteer.models.chat import Text
from lmsteer.models.cross_entropy import loglik_gradient
from lmsteer.steering.directions import Directions

TEXTS_PER_CHUNK = 64
"""Texts whose hidden states are in memory together."""


@dataclass(frozen=True)
class DirectionSums:
    """Sums over the tokens of each text, for several sets of directions; other attributes belong to the first set.

    Attributes:
        evidence_BR: ``Directions.evidence`` by text, for each set.
        gradient_BR: ``g . u`` by text, with the gradient ``g`` of the log-likelihood: the evidence without its factor
            ``epsilon size (c . v)``.
        activation_NR: ``c . v`` of every context.
        targets_N: The token after each context.
        lengths_B: Number of contexts of each text.
        mean_D: Mean context.
    """

    evidence_BR: list[Tensor]
    gradient_BR: Tensor
    activation_NR: Tensor
    targets_N: Tensor
    lengths_B: Tensor
    mean_D: Tensor

    def turned(self, signs_R: Tensor) -> DirectionSums:
        """Return the sums for the first set with other signs, see ``Directions.turned``."""
        return replace(self, gradient_BR=self.gradient_BR * signs_R, activation_NR=self.activation_NR * signs_R)

    def constant_evidence(self, directions: Directions) -> Tensor:
        """Return the evidence by text (B, R) of constant vectors: each direction at its mean activation everywhere."""
        level_R = self.activation_NR.mean(0) * directions.sizes_R.to(self.activation_NR) * directions.epsilon
        return self.gradient_BR * level_R


def sum_over_tokens(extract: FeatureExtractor, texts: Sequence[Text], sets: Sequence[Directions]) -> DirectionSums:
    """Sum over the tokens of texts, in one pass for all sets of directions.

    Raises:
        InputError: If no text has two tokens.
    """
    head, parts = extract.model.head, []
    with tqdm(total=len(texts), desc="reading", unit="text") as progress:
        for start in range(0, len(texts), TEXTS_PER_CHUNK):
            features = extract(texts[start : start + TEXTS_PER_CHUNK])
            hidden_ND = features.hidden_ND.to(torch.promote_types(head.weight.dtype, torch.float32))
            gradient_ND = loglik_gradient(head, hidden_ND, features.targets_N)
            by_token = [
                gradient_ND @ sets[0].output_DR.to(gradient_ND),
                *(one.evidence(hidden_ND, gradient_ND) for one in sets),
            ]
            by_text = [_by_text(one, features.lengths) for one in by_token]
            contexts = [sets[0].activations(hidden_ND), features.targets_N, features.lengths, hidden_ND.sum(0)[None]]
            parts.append([tensor.cpu() for tensor in (*contexts, *by_text)])
            progress.update(len(features.lengths))
    activation_NR, targets_N, lengths_B, sums, gradient_BR, *evidence_BR = map(torch.cat, zip(*parts, strict=True))
    if not len(targets_N):
        raise InputError(f"{len(texts)} texts: none has two tokens, so there is nothing to predict in them")
    return DirectionSums(evidence_BR, gradient_BR, activation_NR, targets_N, lengths_B, sums.sum(0) / len(targets_N))


def _by_text(values_NR: Tensor, lengths_B: Tensor) -> Tensor:
    sums_BR = values_NR.new_zeros(len(lengths_B), values_NR.shape[1])
    return sums_BR.index_add_(0, torch.repeat_interleave(lengths_B), values_NR)


class LabeledEvidence:
    """Compare the evidence (B, R) of directions with the labels (B,) of texts; texts with label 0 are left out.

    Attributes:
        evidence_BR: Evidence of the remaining texts.
        plus_B: 1 where the label is above 0, else 0.

    Raises:
        InputError: If the remaining labels do not have both signs.
    """

    def __init__(self, evidence_BR: Tensor, labels_B: Sequence[float], *, seed: int = 0) -> None:
        labels = np.asarray(labels_B, dtype=float)
        self.evidence_BR: Array = evidence_BR.double().numpy()[labels != 0]
        self.plus_B: Array = (labels[labels != 0] > 0).astype(float)
        self.seed = seed
        if not 0 < self.plus_B.sum() < len(self.plus_B):
            plus = int(self.plus_B.sum())
            raise InputError(
                f"data: {plus} rows with a label above 0, {len(self.plus_B) - plus} below; both are needed"
            )

    @property
    def separation(self) -> Array:
        """Mean evidence of texts above 0 minus that of texts below 0 (R,), in nats per unit of strength."""
        plus = self.plus_B == 1
        return np.asarray(self.evidence_BR[plus].mean(0) - self.evidence_BR[~plus].mean(0))

    @property
    def shares(self) -> Array:
        """Share of each direction in the separation (R,): they sum to 1; one against the labels is negative."""
        return np.asarray(self.separation / (self.separation.sum() or 1.0))

    @property
    def aucs(self) -> Array:
        """AUC of each direction (R,)."""
        return self._aucs(self.evidence_BR)

    @property
    def cumulative_aucs(self) -> Array:
        """AUC of the sum of the first 1, 2, … directions (R,)."""
        return self._aucs(self.evidence_BR.cumsum(1))

    def interval(self, chosen: int | slice) -> Interval:
        """Return the AUC of one direction, or of the sum of several, with a bootstrap interval over texts."""
        evidence_BR = self.evidence_BR[:, chosen].reshape(len(self.plus_B), -1)
        return bootstrap_interval([evidence_BR.sum(1), self.plus_B], auc, seed=self.seed)

    def _aucs(self, evidence_BR: Array) -> Array:
        columns_RB = evidence_BR.T
        return auc(columns_RB, np.broadcast_to(self.plus_B, columns_RB.shape), axis=-1)
