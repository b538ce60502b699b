"""Does what is highlighted carry the attribute? Tokens are deleted, and independent scorers read what is left.

Shapes: N texts, T tokens of a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.highlighting.classifier import mean
from lmsteer.analysis.token_evidence import Offsets, Reading, readings
from lmsteer.metrics.intervals import Array, bootstrap_interval
from lmsteer.models.language_model import LanguageModel
from lmsteer.scoring.cache import ScoreCache
from lmsteer.scoring.scorer import Scorer
from lmsteer.steering.steer import Steer

SHARES = (0.1, 0.2, 0.3)
FEWEST = 10
"""Tokens of the shortest text that counts: of fewer, a tenth is none."""
ORDERS = ("most evidence", "random", "least evidence")


def without(text: str, offsets: Offsets, deleted: Sequence[int]) -> str:
    """The text less some of its tokens; a character that tokens share goes with any of them."""
    gone = {place for token in deleted for place in range(*offsets[token])}
    return "".join(sign for place, sign in enumerate(text) if place not in gone).strip()


def deletions(evidence_T: Array, count: int, draws: int, noise: np.random.Generator) -> dict[str, list[NDArray[Any]]]:
    """Which tokens go, by order: those with most evidence for what the text is, random ones (drawn so many times),
    and those with least."""
    order = np.argsort(-evidence_T, kind="stable")
    random = [noise.choice(len(evidence_T), count, replace=False) for _ in range(draws)]
    return {"most evidence": [order[:count]], "random": random, "least evidence": [order[-count:]]}


def shortened(
    texts: Sequence[str], found: Sequence[Reading], draws: int, seed: int
) -> dict[str, dict[str, list[list[str]]]]:
    """For each share of tokens and each order, the texts that are left, draw by draw.

    Evidence is turned so that it speaks for the side that the whole text falls on.
    """
    noise = np.random.default_rng(seed)
    left: dict[str, dict[str, list[list[str]]]] = {}
    for share in SHARES:
        by_order: dict[str, list[list[str]]] = {order: [] for order in ORDERS}
        for text, reading in zip(texts, found, strict=True):
            evidence_T = reading.evidence(0, 1).numpy()
            side = 1.0 if evidence_T.sum() > 0 else -1.0
            count = max(1, round(share * len(evidence_T)))
            for order, drawn in deletions(side * evidence_T, count, draws, noise).items():
                by_order[order].append([without(text, reading.offsets, tokens.tolist()) for tokens in drawn])
        left[f"{share:g}"] = by_order
    return left


def faithfulness(
    model: LanguageModel,
    steer: Steer,
    texts: Sequence[str],
    scorers: Sequence[Scorer],
    store: ScoreCache | None,
    *,
    strength: float,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """How far each scorer's probability of the side that the steer decides for falls, by share and order.

    Falls are means over texts with 95 % bootstrap intervals; differences from random deletions are paired by text.
    """
    name = steer.dimensions[0]
    found = readings(model, steer, texts, [{name: strength}, {name: -strength}])
    kept = [place for place, reading in enumerate(found) if len(reading.ids) >= FEWEST]
    texts, found = [texts[place] for place in kept], [found[place] for place in kept]
    side_N = np.array([1.0 if reading.evidence(0, 1).sum() > 0 else -1.0 for reading in found])
    left = shortened(texts, found, draws, seed)
    result: dict[str, Any] = {"texts": len(texts), "tokens": int(np.mean([len(r.ids) for r in found])), "scorers": {}}
    for scorer in scorers:
        whole_N = side_N * scored(scorer, store, texts)
        falls = {
            share: {order: _fall(scorer, store, whole_N, side_N, drawn) for order, drawn in by_order.items()}
            for share, by_order in left.items()
        }
        result["scorers"][scorer.name] = {
            share: {order: measured(values, by_order["random"], seed) for order, values in by_order.items()}
            for share, by_order in falls.items()
        }
    return result


def measured(fall_N: Array, random_N: Array, seed: int) -> Mapping[str, Any]:
    """The mean fall, and by how much it is more than that of random deletions."""
    return {
        "fall": asdict(bootstrap_interval([fall_N], mean, seed=seed)),
        "beyond_random": asdict(bootstrap_interval([fall_N - random_N], mean, seed=seed)),
    }


def scored(scorer: Scorer, store: ScoreCache | None, texts: Sequence[str]) -> Array:
    """Probabilities (N,) of texts."""
    return (store.scores(scorer, texts) if store else scorer(texts)).double().numpy()


def _fall(
    scorer: Scorer, store: ScoreCache | None, whole_N: Array, side_N: Array, drawn: Sequence[Sequence[str]]
) -> Array:
    """By how much the probability of the side falls (N,), the mean over draws."""
    draws = len(drawn[0])
    said = scored(scorer, store, [text for texts in drawn for text in texts]).reshape(len(drawn), draws)
    return np.asarray(whole_N - side_N * said.mean(1))
