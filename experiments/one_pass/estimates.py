"""Estimates of several dampings, ranks and forms, measured as classifiers of held-out texts.

Shapes: B texts, N packed tokens, D width, R rank.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmsteer.data.corpus import Corpus
from lmsteer.data.features import FeatureExtractor, Features
from lmsteer.errors import InputError
from lmsteer.metrics.auc import auc
from lmsteer.metrics.intervals import Interval, bootstrap_interval
from lmsteer.models.chat import Text
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.corpus_pass import TEXTS_PER_CHUNK, sum_statistics
from lmsteer.one_pass.gradients import LoglikGradients
from lmsteer.one_pass.natural_gradient import Estimate
from lmsteer.one_pass.one_pass_solver import StepConfig
from lmsteer.one_pass.permutation_test import count_significant, permute_labels, threshold
from lmsteer.one_pass.statistics import Statistics
from lmsteer.records import Row

SPECTRUM_LENGTH = 48
"""Singular values that are stored for the picture."""


class TimedExtractor(FeatureExtractor):
    """An extractor that sums up its seconds, to separate hidden states from the rest of a pass."""

    def __init__(self, model: LanguageModel, *, max_length: int) -> None:
        super().__init__(model, max_length=max_length)
        self.seconds = 0.0

    def __call__(self, texts: Sequence[Text]) -> Features:
        """Extract the features of texts."""
        start = time.perf_counter()
        features = super().__call__(texts)
        self.seconds += time.perf_counter() - start
        return features


@dataclass(frozen=True)
class HeldOut:
    """Hidden states and log-likelihood gradients of texts with a label above or below 0.

    Attributes:
        hidden_ND: float32, as the gradients.
        lengths: Tokens of each text, above 0.
        positive_B: Whether the label of each text is above 0.
    """

    hidden_ND: Tensor
    gradient_ND: Tensor
    lengths: tuple[int, ...]
    positive_B: tuple[bool, ...]

    @classmethod
    def from_rows(cls, extract: FeatureExtractor, rows: Sequence[Row]) -> HeldOut:
        """Extract rows; those with label 0 and those of a single token are left out.

        Raises:
            InputError: If the remaining labels are not of both signs.
        """
        rows = [row for row in rows if row.label]
        hidden, gradient, lengths = list[Tensor](), list[Tensor](), list[int]()
        for start in range(0, len(rows), TEXTS_PER_CHUNK):
            features = extract([row.text for row in rows[start : start + TEXTS_PER_CHUNK]])
            hidden.append(features.hidden_ND.float())
            gradient.append(LoglikGradients(extract.model.head)(features.hidden_ND, features.targets_N).float())
            lengths += features.lengths.tolist()
        positive = tuple(row.label > 0 for row, length in zip(rows, lengths, strict=True) if length)
        if not 0 < sum(positive) < len(positive):
            raise InputError(
                f"{len(positive)} held-out rows with {sum(positive)} labels above 0; some of both expected"
            )
        return cls(torch.cat(hidden), torch.cat(gradient), tuple(filter(None, lengths)), positive)

    def auc(self, p1_DR: Tensor, p2_DR: Tensor, bias_D: Tensor | None = None, *, seed: int = 0) -> Interval:
        """Measure ``P1 P2^T``, with a bias b if given, as a classifier: its AUC with a bootstrap interval over texts.

        The score is the derivative of a text's mean log-likelihood in the strength, at strength 0: the mean of
        ``(h P1 P2^T + b) d`` over its tokens, d being the log-likelihood gradient.
        """
        p1_DR, p2_DR = (factor.detach().to(self.hidden_ND) for factor in (p1_DR, p2_DR))
        evidence_N = ((self.hidden_ND @ p1_DR) * (self.gradient_ND @ p2_DR)).sum(-1)
        if bias_D is not None:
            evidence_N += self.gradient_ND @ bias_D.detach().to(self.gradient_ND)
        scores = np.array([tokens.mean().item() for tokens in evidence_N.split(list(self.lengths))])
        return bootstrap_interval([scores, np.array(self.positive_B, dtype=float)], auc, seed=seed)


def nested_splits(corpus: Corpus, sizes: Sequence[int], seed: int) -> list[list[Row]]:
    """Split the training rows: each split holds the rows that a choice of ``data.rows`` adds to the one before."""
    splits, texts = list[list[Row]](), set[str]()
    for size in [*sorted(size for size in sizes if size < len(corpus.train)), len(corpus.train)]:
        splits.append([row for row in corpus.subset(size, seed).train if row.text not in texts])
        texts |= {row.text for row in splits[-1]}
    return splits


def nested_statistics(
    extract: TimedExtractor, splits: Sequence[Sequence[Row]], permutations: int, seed: int
) -> list[tuple[Statistics, dict[str, float]]]:
    """Sum up ever more rows, and the seconds that they cost: each split is added to the ones before.

    Labels are permuted within a split, which leaves them exchangeable.
    """
    results: list[tuple[Statistics, dict[str, float]]] = []
    for number, rows in enumerate(splits):
        label_B = torch.tensor([row.label for row in rows])
        permuted_BP = permute_labels(label_B, permutations, seed=seed + number)
        start, before = time.perf_counter(), extract.seconds
        total = sum_statistics(extract, [row.text for row in rows], label_B, permuted_BP=permuted_BP)
        hidden = extract.seconds - before
        cost = {"hidden_states": hidden, "statistics": time.perf_counter() - start - hidden}
        if results:
            total.add_(results[-1][0])
            cost = {name: seconds + results[-1][1][name] for name, seconds in cost.items()}
        results.append((total, cost))
    return results


def measure_rules(
    total: Statistics, step: StepConfig, ranks: Sequence[int], held_out: dict[str, HeldOut], seed: int
) -> dict[str, Any]:
    """Count the directions above the null; measure the AUC at that rank, at other ranks and at full rank.

    Rules with "add" have a bias: alone, or next to a matrix, of a joint step with its own null.
    """
    estimate, joint = (Estimate.from_statistics(total, replace(step, centered=centered)) for centered in (False, True))
    significant = count_significant(estimate.singular_values_R, estimate.null_P)
    joint_significant = count_significant(joint.singular_values_R, joint.null_P)
    rules = {
        "null": max(1, significant),
        **{f"rank {rank}": rank for rank in ranks},
        "full": len(estimate.singular_values_R),
    }
    rules |= {"add": 0, "null + add": max(1, joint_significant), "full + add": rules["full"]}

    def measure(texts: HeldOut, rule: str, rank: int) -> dict[str, Any]:
        used = joint if "add" in rule else estimate
        return asdict(texts.auc(*used.factors(rank), used.bias(rank) if "add" in rule else None, seed=seed))

    return {
        "above": significant,
        "threshold": threshold(estimate.null_P),
        "spectrum": estimate.singular_values_R[:SPECTRUM_LENGTH].tolist(),
        "null": sorted(estimate.null_P.tolist()),
        "rules": {
            rule: {"rank": rank, **{name: measure(texts, rule, rank) for name, texts in held_out.items()}}
            for rule, rank in rules.items()
        },
    }


def choose_best(by_damping: dict[float, dict[str, Any]]) -> tuple[float, str]:
    """Choose the damping and rule of the highest AUC on the texts for choosing; of equals the first."""
    candidates = [(damping, rule) for damping, measured in by_damping.items() for rule in measured["rules"]]
    return max(candidates, key=lambda pair: by_damping[pair[0]]["rules"][pair[1]]["choice"]["value"])
