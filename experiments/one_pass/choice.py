"""Estimates of several dampings, ranks and forms, chosen on some held-out texts and measured on others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from experiments.one_pass.held_out import HeldOut
from lmsteer.data.features import FeatureExtractor, Features
from lmsteer.data.statistics import statistics
from lmsteer.records import Row
from lmsteer.steering.model import LanguageModel
from lmsteer.steering.null import above, permuted, threshold
from lmsteer.steering.one_pass import Estimate, Statistics

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


def judged(estimate: Estimate, ranks: Sequence[int], choice: HeldOut, figures: HeldOut, seed: int) -> dict[str, Any]:
    """What stands above the null, and the AUC of the estimate at that rank, at others and at full rank.

    Rules with "add" have the constant part: alone, or beside a matrix.
    """
    standing, full = above(estimate.sizes_R, estimate.null_P), len(estimate.sizes_R)
    rules = {"null": max(1, standing), **{f"rank {rank}": rank for rank in ranks}, "full": full}
    rules |= {"add": 0, "null + add": max(1, standing), "full + add": full}

    def auc(held: HeldOut, rule: str) -> dict[str, Any]:
        constant_D = estimate.constant_D if "add" in rule else None
        return asdict(held.auc(*estimate.factors(rules[rule]), constant_D, seed=seed))

    return {
        "above": standing,
        "threshold": threshold(estimate.null_P),
        "spectrum": estimate.sizes_R[:SHOWN].tolist(),
        "null": sorted(estimate.null_P.tolist()),
        "rules": {
            rule: {"rank": rank, "choice": auc(choice, rule), "figures": auc(figures, rule)}
            for rule, rank in rules.items()
        },
    }


def best(by_damping: dict[float, dict[str, Any]]) -> tuple[float, str]:
    """Damping and rule of the highest AUC on the texts for choosing; of equals the first."""
    tried = [(damping, rule) for damping, one in by_damping.items() for rule in one["rules"]]
    return max(tried, key=lambda pair: by_damping[pair[0]]["rules"][pair[1]]["choice"]["value"])
