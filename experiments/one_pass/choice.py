"""Estimates of several dampings, ranks and forms, chosen on some held-out texts and measured on others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from experiments.one_pass.held_out import HeldOut
from lmsteer.data.features import FeatureExtractor, Features
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.corpus_pass import statistics
from lmsteer.one_pass.natural_gradient import Estimate, Step
from lmsteer.one_pass.permutation_test import above, permuted, threshold
from lmsteer.one_pass.statistics import Statistics
from lmsteer.records import Row

PARTS = ("choice", "figures")
SHOWN = 48
"""Singular values that are kept for the picture."""


class TimedExtractor(FeatureExtractor):
    """An extractor that knows how long it worked, so that the rest of a pass can be told from it."""

    def __init__(self, model: LanguageModel, *, max_length: int) -> None:
        super().__init__(model, max_length=max_length)
        self.seconds = 0.0

    def __call__(self, texts: Sequence[str]) -> Features:
        """Features of texts."""
        start = time.perf_counter()
        features = super().__call__(texts)
        self.seconds += time.perf_counter() - start
        return features


def nested_sums(
    extract: TimedExtractor, parts: Sequence[Sequence[Row]], permutations: int, seed: int
) -> list[tuple[Statistics, dict[str, float]]]:
    """Statistics of ever more rows, with what they cost: those of a part are added to the ones before.

    Labels change places inside a part, which leaves them exchangeable.
    """
    found: list[tuple[Statistics, dict[str, float]]] = []
    for number, rows in enumerate(parts):
        label_BK = torch.tensor([[row.label] for row in rows])
        null_BKP = permuted(label_BK, permutations, seed=seed + number)
        start, before = time.perf_counter(), extract.seconds
        sums = statistics(extract, [row.text for row in rows], label_BK, null_BKP=null_BKP)
        hidden = extract.seconds - before
        cost = {"hidden_states": hidden, "statistics": time.perf_counter() - start - hidden}
        if found:
            sums, cost = found[-1][0] + sums, {name: seconds + found[-1][1][name] for name, seconds in cost.items()}
        found.append((sums, cost))
    return found


def judged(
    sums: Statistics, step: Step, ranks: Sequence[int], held: tuple[HeldOut, HeldOut], seed: int
) -> dict[str, Any]:
    """What stands above the null, and the AUC of the estimate at that rank, at others and at full rank.

    Rules with "add" have the constant part: alone, or beside a matrix, of a joint step with a null of its own.

    Args:
        held: Texts for choosing, and those for the figures.
    """
    estimate, joint = (Estimate.of(sums, step=replace(step, centred=centred)) for centred in (False, True))
    standing, beside = (max(1, above(one.sizes_R, one.null_P)) for one in (estimate, joint))
    rules = {"null": standing, **{f"rank {rank}": rank for rank in ranks}, "full": len(estimate.sizes_R)}
    rules |= {"add": 0, "null + add": beside, "full + add": len(estimate.sizes_R)}

    def auc(texts: HeldOut, rule: str) -> dict[str, Any]:
        own, rank = joint if "add" in rule else estimate, rules[rule]
        return asdict(texts.auc(*own.factors(rank), own.bias(rank) if "add" in rule else None, seed=seed))

    return {
        "above": above(estimate.sizes_R, estimate.null_P),
        "threshold": threshold(estimate.null_P),
        "spectrum": estimate.sizes_R[:SHOWN].tolist(),
        "null": sorted(estimate.null_P.tolist()),
        "rules": {
            rule: {"rank": rank, **{part: auc(texts, rule) for part, texts in zip(PARTS, held, strict=True)}}
            for rule, rank in rules.items()
        },
    }


def best(by_damping: dict[float, dict[str, Any]]) -> tuple[float, str]:
    """Damping and rule of the highest AUC on the texts for choosing; of equals the first."""
    tried = [(damping, rule) for damping, one in by_damping.items() for rule in one["rules"]]
    return max(tried, key=lambda pair: by_damping[pair[0]]["rules"][pair[1]]["choice"]["value"])
