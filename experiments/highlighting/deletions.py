"""Test whether highlighted tokens carry the attribute: delete tokens, and score what remains by independent scorers.

Shapes: N texts, T tokens of a text.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.study import mean_interval, score_texts
from lmsteer.analysis.token_evidence import Offsets, TextLogProbs, text_log_probs
from lmsteer.metrics.intervals import Array
from lmsteer.models.language_model import LanguageModel
from lmsteer.scoring.cache import ScoreCache
from lmsteer.scoring.scorer import Scorer
from lmsteer.steering.steer import Steer

SHARES = (0.1, 0.2, 0.3)
FEWEST_TOKENS = 10
"""Tokens of the shortest text that counts: a tenth of fewer is no token."""
ORDERS = ("most evidence", "random", "least evidence")
Shortened = dict[str, dict[str, list[list[str]]]]
"""Shortened texts: by share of deleted tokens and by order, for each text one string per draw."""


def delete_tokens(text: str, offsets: Offsets, tokens: Sequence[int]) -> str:
    """Delete tokens from a text; a character that several tokens share goes with any of them."""
    deleted = {index for token in tokens for index in range(*offsets[token])}
    return "".join(character for index, character in enumerate(text) if index not in deleted).strip()


def choose_tokens(
    evidence_T: Array, count: int, draws: int, noise: np.random.Generator
) -> dict[str, list[NDArray[Any]]]:
    """Choose the tokens to delete in each order: most evidence, ``draws`` random choices, least evidence."""
    order = np.argsort(-evidence_T, kind="stable")
    random = [noise.choice(len(evidence_T), count, replace=False) for _ in range(draws)]
    return {"most evidence": [order[:count]], "random": random, "least evidence": [order[-count:]]}


def shorten_texts(texts: Sequence[str], token_evidence: Sequence[TextLogProbs], draws: int, seed: int) -> Shortened:
    """Delete each share of tokens in each order; evidence counts for the side of its whole text."""
    noise = np.random.default_rng(seed)
    shortened: Shortened = {f"{share:g}": {order: [] for order in ORDERS} for share in SHARES}
    for share in SHARES:
        for text, reading in zip(texts, token_evidence, strict=True):
            evidence_T = reading.evidence(0, 1).numpy()
            count = max(1, round(share * len(evidence_T)))
            for order, choices in choose_tokens(_side(reading) * evidence_T, count, draws, noise).items():
                remaining = [delete_tokens(text, reading.offsets, tokens.tolist()) for tokens in choices]
                shortened[f"{share:g}"][order].append(remaining)
    return shortened


def measure_deletions(
    model: LanguageModel,
    steer: Steer,
    texts: Sequence[str],
    scorers: Sequence[Scorer],
    cache: ScoreCache | None,
    *,
    strength: float,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """Measure how far each scorer's probability of the steer's decision falls, by share and order of deletion.

    Falls are means over texts with 95 % bootstrap intervals; differences from random deletions are paired by text.
    """
    name = steer.dimensions[0]
    pairs = zip(texts, text_log_probs(model, steer, texts, [{name: strength}, {name: -strength}]), strict=True)
    long_enough = [(text, reading) for text, reading in pairs if len(reading.ids) >= FEWEST_TOKENS]
    texts, token_evidence = [text for text, _ in long_enough], [reading for _, reading in long_enough]
    side_N = np.array([_side(reading) for reading in token_evidence])
    shortened = shorten_texts(texts, token_evidence, draws, seed)
    result: dict[str, Any] = {
        "texts": len(texts),
        "tokens": int(np.mean([len(reading.ids) for reading in token_evidence])),
        "scorers": {scorer.name: {} for scorer in scorers},
    }
    for scorer in scorers:
        unchanged_N = score_texts(scorer, texts, cache)
        for share, by_order in shortened.items():
            falls = {
                order: side_N * (unchanged_N - _mean_scores(scorer, drawn, cache)) for order, drawn in by_order.items()
            }
            result["scorers"][scorer.name][share] = {
                order: {
                    "fall": mean_interval(fall_N, seed),
                    "beyond_random": mean_interval(fall_N - falls["random"], seed),
                }
                for order, fall_N in falls.items()
            }
    return result


def _side(reading: TextLogProbs) -> float:
    """Return 1 where the evidence of a text is positive in sum, else -1."""
    return 1.0 if reading.evidence(0, 1).sum() > 0 else -1.0


def _mean_scores(scorer: Scorer, drawn: Sequence[Sequence[str]], cache: ScoreCache | None) -> Array:
    """Score the draws of each text and return their means (N,)."""
    scores = score_texts(scorer, [text for draws in drawn for text in draws], cache)
    return np.asarray(scores.reshape(len(drawn), -1).mean(1))
