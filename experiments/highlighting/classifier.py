"""A steer as a classifier of texts, in several variants: one is chosen on dev rows and judged on others.

Shapes: N texts, S strengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from experiments.highlighting.rows import GROUPS
from lmsteer.analysis.token_evidence import readings
from lmsteer.metrics.auc import auc
from lmsteer.metrics.intervals import Array, bootstrap_interval
from lmsteer.metrics.threshold import best_threshold
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.steering.steer import DUMMY, Steer

GRID = tuple(float(value) for value in range(-5, 6))
RATIOS = (5.0, 3.0, 2.0, 1.0)
MAIN = next(iter(GROUPS.values()))


@dataclass(frozen=True)
class Variant:
    """A way to score texts.

    Attributes:
        dummy: Whether the dummy is on at 1, as in training.
        strength: v of the log-likelihood ratio of v and -v; None: the mean of the posterior over the grid.
        per_token: Whether the ratio is divided by the number of tokens.
        first: Whether the first token of a text counts, which no steer was trained on.
    """

    dummy: bool = False
    strength: float | None = RATIOS[0]
    per_token: bool = False
    first: bool = True

    @property
    def strengths(self) -> tuple[float, ...]:
        """At which a text has to be read."""
        return GRID if self.strength is None else (self.strength, -self.strength)

    @property
    def name(self) -> str:
        """What it is called in tables."""
        parts = ["mean strength" if self.strength is None else f"±{self.strength:g}"]
        parts += ["per token"] * self.per_token + ["without first token"] * (not self.first)
        return ", ".join([*parts, f"dummy {'on' if self.dummy else 'off'}"])

    def scores(self, read: Likelihoods) -> Array:
        """Scores (N,), above 0 for what the steer's positive strengths make likelier."""
        nats = [read.nats[strength] - (0 if self.first else read.first[strength]) for strength in self.strengths]
        if self.strength is None:
            nats_SN = np.stack(nats)
            weights_SN = np.exp(nats_SN - nats_SN.max(0))
            return np.asarray(np.array(GRID) @ weights_SN / weights_SN.sum(0))
        ratio = nats[0] - nats[1]
        return np.asarray(ratio / (read.tokens - (not self.first)) if self.per_token else ratio)


@dataclass(frozen=True)
class Likelihoods:
    """Log-likelihoods (N,) of texts and of their first tokens, by strength; their numbers of tokens (N,)."""

    nats: Mapping[float, Array]
    first: Mapping[float, Array]
    tokens: Array


def variants(steer: Steer) -> list[Variant]:
    """All that a steer allows, what the command does by default first."""
    ways = [Variant(False, strength, per_token) for strength, per_token in product(RATIOS, (False, True))]
    ways.append(Variant(False, None))
    found = [Variant(False, way.strength, way.per_token, first) for first in (True, False) for way in ways]
    with_dummy = [Variant(True, way.strength, way.per_token, way.first) for way in found]
    return found + (with_dummy if DUMMY in steer.dimensions else [])


def read(model: LanguageModel, steer: Steer, rows: Sequence[Row], ways: Sequence[Variant]) -> dict[bool, Likelihoods]:
    """What variants need to know of texts, by whether the dummy is on."""
    found = {}
    for dummy in sorted({way.dummy for way in ways}):
        strengths = sorted({strength for way in ways if way.dummy is dummy for strength in way.strengths})
        fixed = {DUMMY: 1.0} if dummy else {}
        named = [{**fixed, steer.dimensions[0]: strength} for strength in strengths]
        texts = readings(model, steer, [row.text for row in rows], named)
        nats_NS = np.stack([text.nats_S.numpy() for text in texts])
        first_NS = np.stack([text.log_p_ST[:, 0].double().numpy() for text in texts])
        found[dummy] = Likelihoods(
            {strength: nats_NS[:, place] for place, strength in enumerate(strengths)},
            {strength: first_NS[:, place] for place, strength in enumerate(strengths)},
            np.array([max(len(text.ids), 2) for text in texts], dtype=float),
        )
    return found


def judged(scores: Array, rows: Sequence[Row], threshold: float, *, least: float, seed: int = 0) -> dict[str, Any]:
    """Accuracy and AUC on rows whose label is at least so far from 0, with 95 % bootstrap intervals over rows."""
    labels = np.array([row.label for row in rows])
    counted = (np.abs(labels) >= least) & (labels != 0)
    scores, positive = scores[counted], labels[counted] > 0
    right = ((scores > threshold) == positive).astype(float)
    return {
        "rows": int(counted.sum()),
        "positive": float(positive.mean()),
        "accuracy": asdict(bootstrap_interval([right], mean, seed=seed)),
        "auc": asdict(bootstrap_interval([scores, positive.astype(float)], auc, seed=seed)),
    }


def choice(scores: Sequence[tuple[Variant, Array]], rows: Sequence[Row]) -> dict[str, Any]:
    """The variant with the highest AUC on dev rows, the threshold there, and what all of them do there."""
    positive = [row.label > 0 for row in rows]
    found = []
    for way, values in scores:
        threshold = best_threshold(values.tolist(), positive)
        at_zero = judged(values, rows, 0.0, least=MAIN)
        chosen = judged(values, rows, threshold, least=MAIN)
        found.append(
            {
                "variant": way.name,
                "auc": at_zero["auc"]["value"],
                "accuracy": at_zero["accuracy"]["value"],
                "threshold": threshold,
                "accuracy_at_threshold": chosen["accuracy"]["value"],
            }
        )
    best = max(range(len(found)), key=lambda place: (found[place]["auc"], -place))
    return {"rows": len(rows), "variants": found, "chosen": best}


def classified(
    model: LanguageModel, steer: Steer, dev: Sequence[Row], sets: Mapping[str, Sequence[Row]], *, seed: int
) -> dict[str, Any]:
    """Figures of one steer: the variants on dev rows, then the default and the chosen one on every other set."""
    ways = variants(steer)
    strong = [row for row in dev if abs(row.label) >= MAIN]
    found = read(model, steer, strong, ways)
    chosen = choice([(way, way.scores(found[way.dummy])) for way in ways], strong)
    own = ways[chosen["chosen"]]
    kept = {"default": (ways[0], 0), "chosen on dev": (own, chosen["chosen"])}
    result: dict[str, Any] = {"dev": chosen, "sets": {}}
    for name, rows in sets.items():
        likelihoods = read(model, steer, rows, [ways[0], own])
        result["sets"][name] = {
            f"{title}, {where}": {
                "variant": way.name,
                "threshold": threshold,
                **{
                    group: judged(way.scores(likelihoods[way.dummy]), rows, threshold, least=least, seed=seed)
                    for group, least in GROUPS.items()
                },
            }
            for title, (way, place) in kept.items()
            for where, threshold in (
                ("threshold 0", 0.0),
                ("threshold from dev", chosen["variants"][place]["threshold"]),
            )
        }
    return result


def mean(*columns: Array, axis: int) -> Array:
    """A statistic of one column."""
    (values,) = columns
    return np.asarray(values.mean(axis=axis))
