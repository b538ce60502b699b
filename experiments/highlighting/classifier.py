"""Use a steer as a classifier of texts: choose one of several variants on dev rows, measure it on other rows.

Shapes: N texts, S strengths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from experiments.study import mean_interval
from lmsteer.analysis.token_evidence import TextLogProbs, text_log_probs
from lmsteer.data.prompts.prompt_sets import CLEAR_LABEL
from lmsteer.metrics.auc import auc
from lmsteer.metrics.intervals import Array, bootstrap_interval
from lmsteer.metrics.threshold import best_threshold
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.scoring.scorer_rows import MIN_LABEL
from lmsteer.steering.dimensions import DUMMY
from lmsteer.steering.steer import Steer

GROUPS = {f"label beyond ±{MIN_LABEL:g}": MIN_LABEL, f"label beyond ±{CLEAR_LABEL:g}": CLEAR_LABEL, "label not 0": 0.0}
"""Groups of rows by the least distance of their label from 0; the first group is the main one."""
MAIN = MIN_LABEL
GRID = tuple(float(value) for value in range(-5, 6))
RATIOS = (5.0, 3.0, 2.0, 1.0)


@dataclass(frozen=True)
class Variant:
    """A way to score texts by their likelihoods.

    Attributes:
        dummy: Whether the dummy is on at 1, as in training.
        strength: v of the log-likelihood ratio of v and -v; None: the mean of the posterior over the grid.
        per_token: Whether the ratio is divided by the number of tokens.
        first_token: Whether the first token of a text counts; no steer was trained on it.
    """

    dummy: bool = False
    strength: float | None = RATIOS[0]
    per_token: bool = False
    first_token: bool = True

    @property
    def strengths(self) -> tuple[float, ...]:
        """Strengths at which it reads a text."""
        return GRID if self.strength is None else (self.strength, -self.strength)

    @property
    def name(self) -> str:
        """Its name in tables."""
        words = ["mean strength" if self.strength is None else f"±{self.strength:g}"]
        words += ["per token"] * self.per_token + ["without first token"] * (not self.first_token)
        return ", ".join([*words, f"dummy {'on' if self.dummy else 'off'}"])

    def scores(self, texts: Sequence[TextLogProbs], strengths: Sequence[float]) -> Array:
        """Score texts (N,) that were read at ``strengths``; above 0 where positive strengths make the text likelier."""
        skipped = 0 if self.first_token else 1
        loglik_NS = np.stack([text.log_p_ST[:, skipped:].double().sum(1).numpy() for text in texts])
        loglik_SN = loglik_NS.T[[strengths.index(strength) for strength in self.strengths]]
        if self.strength is None:
            weights_SN = np.exp(loglik_SN - loglik_SN.max(0))
            return np.asarray(np.array(GRID) @ weights_SN / weights_SN.sum(0))
        lengths = [max(len(text.ids) - skipped, 1) for text in texts] if self.per_token else 1
        return np.asarray((loglik_SN[0] - loglik_SN[1]) / lengths)


def variants(steer: Steer) -> list[Variant]:
    """List the variants that a steer allows, the default of ``src.highlight`` first."""
    scorings = [*product(RATIOS, (False, True)), (None, False)]
    return [
        Variant(dummy, strength, per_token, first_token)
        for dummy in (False, True)[: 1 + (DUMMY in steer.dimensions)]
        for first_token in (True, False)
        for strength, per_token in scorings
    ]


def score_rows(model: LanguageModel, steer: Steer, rows: Sequence[Row], candidates: Sequence[Variant]) -> list[Array]:
    """Score rows (N,) by each variant; texts are read once for all of those that agree about the dummy."""
    texts = [row.text for row in rows]
    scores: dict[Variant, Array] = {}
    for dummy in {variant.dummy for variant in candidates}:
        same_dummy = [variant for variant in candidates if variant.dummy is dummy]
        strengths = sorted({strength for variant in same_dummy for strength in variant.strengths})
        fixed = {DUMMY: 1.0} if dummy else {}
        read = text_log_probs(model, steer, texts, [{**fixed, steer.dimensions[0]: strength} for strength in strengths])
        scores |= {variant: variant.scores(read, strengths) for variant in same_dummy}
    return [scores[variant] for variant in candidates]


def measure_classifier(
    scores: Array, rows: Sequence[Row], threshold: float, *, least_label: float, seed: int = 0
) -> dict[str, Any]:
    """Measure accuracy and AUC, with 95 % bootstrap intervals over rows, on rows with a clear label.

    Args:
        least_label: Least distance of the label from 0; rows with label 0 never count.
    """
    labels = np.array([row.label for row in rows])
    counted = (np.abs(labels) >= least_label) & (labels != 0)
    scores, positive = scores[counted], labels[counted] > 0
    return {
        "rows": int(counted.sum()),
        "positive": float(positive.mean()),
        "accuracy": mean_interval(((scores > threshold) == positive).astype(float), seed),
        "auc": asdict(bootstrap_interval([scores, positive.astype(float)], auc, seed=seed)),
    }


def choose_variant(scored: Sequence[tuple[Variant, Array]], rows: Sequence[Row]) -> dict[str, Any]:
    """Choose the variant with the highest AUC on dev rows, the first of equal ones; report every variant there."""
    positive = np.array([row.label > 0 for row in rows])
    table: list[dict[str, Any]] = []
    for variant, scores in scored:
        threshold = best_threshold(scores.tolist(), positive.tolist())
        table.append(
            {
                "variant": variant.name,
                "auc": float(auc(scores, positive.astype(float), axis=-1)),
                "accuracy": float(np.mean((scores > 0) == positive)),
                "threshold": threshold,
                "accuracy_at_threshold": float(np.mean((scores > threshold) == positive)),
            }
        )
    return {"rows": len(rows), "variants": table, "chosen": int(np.argmax([row["auc"] for row in table]))}


def measure_steer(
    model: LanguageModel, steer: Steer, dev: Sequence[Row], sets: Mapping[str, Sequence[Row]], *, seed: int
) -> dict[str, Any]:
    """Choose a variant and thresholds on dev rows; measure it and the default variant on every other set."""
    clear, candidates = [row for row in dev if abs(row.label) >= MAIN], variants(steer)
    choice = choose_variant(list(zip(candidates, score_rows(model, steer, clear, candidates), strict=True)), clear)
    compared = {"default": 0, "chosen on dev": choice["chosen"]}
    result: dict[str, Any] = {"dev": choice, "sets": {}}
    for name, rows in sets.items():
        scores = score_rows(model, steer, rows, [candidates[index] for index in compared.values()])
        result["sets"][name] = {
            f"{title}, {threshold_name}": {
                "variant": candidates[index].name,
                "threshold": threshold,
                **measure_groups(variant_scores, rows, threshold, seed),
            }
            for (title, index), variant_scores in zip(compared.items(), scores, strict=True)
            for threshold_name, threshold in (
                ("threshold 0", 0.0),
                ("threshold from dev", choice["variants"][index]["threshold"]),
            )
        }
    return result


def measure_groups(scores: Array, rows: Sequence[Row], threshold: float, seed: int) -> dict[str, Any]:
    """Measure a classifier on every group of rows."""
    return {
        group: measure_classifier(scores, rows, threshold, least_label=least_label, seed=seed)
        for group, least_label in GROUPS.items()
    }
