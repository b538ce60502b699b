"""How well a matrix tells labelled texts apart that it was not made of.

Shapes: B texts, N packed tokens, D width, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.metrics.auc import auc
from lmsteer.metrics.intervals import Interval, bootstrap_interval
from lmsteer.one_pass.corpus_pass import AT_ONCE
from lmsteer.one_pass.residuals import Residuals
from lmsteer.records import Row


@dataclass(frozen=True)
class HeldOut:
    """Hidden states and residuals of texts with a label above or below 0.

    Attributes:
        hidden_ND: float32, as the residuals.
        lengths: Tokens of each text, above 0.
        positive_B: Whether its label is above 0.
    """

    hidden_ND: Tensor
    residual_ND: Tensor
    lengths: tuple[int, ...]
    positive_B: tuple[bool, ...]

    @classmethod
    def of(cls, extract: FeatureExtractor, rows: Sequence[Row]) -> HeldOut:
        """Go through rows; those with label 0 are left out, and those of a single token.

        Raises:
            InputError: If the labels that are left are not of both signs.
        """
        rows = [row for row in rows if row.label]
        hidden, residual, lengths = list[Tensor](), list[Tensor](), list[int]()
        for start in range(0, len(rows), AT_ONCE):
            features = extract([row.text for row in rows[start : start + AT_ONCE]])
            hidden.append(features.hidden_ND.float())
            residual.append(Residuals(extract.model.head)(features.hidden_ND, features.targets_N).float())
            lengths += features.lengths.tolist()
        positive = tuple(row.label > 0 for row, length in zip(rows, lengths, strict=True) if length)
        if not 0 < sum(positive) < len(positive):
            raise InputError(
                f"{len(positive)} held-out rows with {sum(positive)} labels above 0; some of both expected"
            )
        return cls(torch.cat(hidden), torch.cat(residual), tuple(filter(None, lengths)), positive)

    def auc(self, first_DR: Tensor, second_DR: Tensor, constant_D: Tensor | None = None, *, seed: int = 0) -> Interval:
        """AUC of ``P1 P2^T``, with a constant part b if given, as a classifier; its bootstrap interval over texts.

        Evidence is the derivative of a text's mean log-likelihood in the strength, at strength 0: the mean
        ``(c M + b) d``.
        """
        first_DR, second_DR = (factor.detach().to(self.hidden_ND) for factor in (first_DR, second_DR))
        evidence_N = ((self.hidden_ND @ first_DR) * (self.residual_ND @ second_DR)).sum(-1)
        if constant_D is not None:
            evidence_N += self.residual_ND @ constant_D.detach().to(self.residual_ND)
        scores = np.array([part.mean().item() for part in evidence_N.split(list(self.lengths))])
        return bootstrap_interval([scores, np.array(self.positive_B, dtype=float)], auc, seed=seed)
