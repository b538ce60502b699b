"""Interpret a steer: its singular directions, their words and contexts, and which of them carry the attribute."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from pydantic import JsonValue

from lmsteer.analysis.direction_evidence import LabeledEvidence, sum_over_tokens
from lmsteer.analysis.interpretation_file import Chance, CumulativeAuc, Direction, Interpretation
from lmsteer.analysis.top_tokens import DirectionTokens, DisplayConfig
from lmsteer.data.corpus import Corpus
from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.steering.directions import directions_holding, effective_rank, participation_ratio, randomized
from lmsteer.steering.steer import Steer

HELD = 0.9
"""Share of the energy that ``Interpretation.holding`` directions hold."""


def interpret(
    model: LanguageModel,
    steer: Steer,
    dimension: str,
    rows: Sequence[Row],
    shown: DisplayConfig | None = None,
    *,
    vocabulary_texts: Sequence[str] = (),
    facts: Mapping[str, JsonValue] | None = None,
    seed: int = 0,
) -> Interpretation:
    """Decompose a dimension of a steer and measure its directions on labeled texts.

    Only the product of the signs of a direction's two vectors is determined. They are chosen such that its mean
    activation is positive: a positive strength raises its plus words in the mean context.

    Args:
        rows: Texts that the steer was not trained on. Those with label 0 give words and contexts, but no evidence.
        shown: Numbers of directions, words, contexts and random matrices.
        vocabulary_texts: Further texts whose words may be shown.
        facts: Further facts about the steer and the texts.
        seed: Seed of the random matrices, and of the bootstrap over texts.

    Raises:
        InputError: If the steer has no such dimension, it is zero or has a constant part, no text has two tokens, or
            the labels are not of both signs.
    """
    shown, labels = shown or DisplayConfig(), [row.label for row in rows]
    if dimension not in steer.dimensions:
        raise InputError(f"dimension={dimension}: the steer's dimensions are {', '.join(steer.dimensions)}")
    if steer.bias is not None:
        raise InputError("the steer has a constant part, which has no directions; one of form=matrix can be read")
    directions = steer.directions(steer.dimensions.index(dimension))
    LabeledEvidence(torch.zeros(len(rows), 1), labels)  # refuses the labels before the long work
    draws = [randomized(directions, seed + draw) for draw in range(shown.draws)]
    extract, texts = FeatureExtractor(model), [model.text(row) for row in rows]
    sums = sum_over_tokens(extract, texts, [directions, *draws])
    signs_R = torch.where(sums.activation_NR.mean(0) < 0, -1.0, 1.0)
    directions, sums = directions.turned(signs_R.double()), sums.turned(signs_R)
    by_text = (sums.constant_evidence(directions), *sums.evidence_BR)
    evidence = [LabeledEvidence(evidence_BR, labels, seed=seed) for evidence_BR in by_text]
    words_of = [row.text for row in rows]
    tokens = DirectionTokens(extract, directions, sums, texts, shown, [*words_of, *vocabulary_texts])
    return _summarize(tokens, evidence, {"dimension": dimension, **(facts or {})})


def _summarize(
    tokens: DirectionTokens, evidence: Sequence[LabeledEvidence], facts: Mapping[str, JsonValue]
) -> Interpretation:
    """Collect all values; ``evidence`` is that of the steer as a constant, of the steer, and of random matrices."""
    directions, (constant, steer, *random) = tokens.directions, evidence
    rank, plus = len(directions.sizes_R), int(steer.plus_B.sum())
    counts = {"rank": rank, "plus": plus, "minus": len(steer.plus_B) - plus, "tokens": len(tokens.sums.targets_N)}
    return Interpretation(
        facts={**facts, **counts},
        effective_rank=effective_rank(directions.energy_R),
        participation_ratio=participation_ratio(directions.energy_R),
        holding=directions_holding(directions.energy_R, HELD),
        sizes=directions.sizes_R.tolist(),
        energy=directions.energy_R.tolist(),
        separation=float(steer.separation.sum()),
        evidence=steer.shares.tolist(),
        auc=steer.aucs.tolist(),
        cumulative=steer.cumulative_aucs.tolist(),
        cumulative_auc=[CumulativeAuc(k=k, auc=steer.interval(slice(k))) for k in _powers_of_two(rank)],
        as_constant=constant.interval(slice(None)),
        chance=_chance(random),
        overall=tokens.overall(),
        directions=[_direction(i, tokens, steer, constant) for i in range(min(tokens.shown.directions, rank))],
    )


def _direction(i: int, tokens: DirectionTokens, steer: LabeledEvidence, constant: LabeledEvidence) -> Direction:
    activation_N = tokens.sums.activation_NR[:, i]
    return Direction(
        number=i + 1,
        size=float(tokens.directions.sizes_R[i]),
        energy=float(tokens.directions.energy_R[i]),
        evidence=float(steer.shares[i]),
        auc=steer.interval(i),
        as_constant=float(constant.aucs[i]),
        activation=float(activation_N.mean()),
        acting=float((activation_N > 0).float().mean()),
        change=tokens.change(i),
        output=tokens.output(i),
        context=tokens.context(i),
        contexts=tokens.contexts(i),
    )


def _powers_of_two(limit: int) -> list[int]:
    """List 1, 2, 4, … and ``limit``."""
    return [*(2**n for n in range(limit.bit_length()) if 2**n < limit), limit]


def _chance(random: Sequence[LabeledEvidence]) -> Chance | None:
    if not random:
        return None
    curves = np.stack([evidence.cumulative_aucs for evidence in random])
    return Chance(draws=len(random), low=curves.min(0).tolist(), high=curves.max(0).tolist())


def heldout_rows(corpus: Corpus, split: str | None, limit: int | None, seed: int) -> tuple[str, tuple[Row, ...]]:
    """Return rows on which no steer is trained, and the name of their split.

    Args:
        split: "test" or "dev"; None: "test" if the corpus has one.
        limit: Maximum number of rows; None: all.

    Raises:
        InputError: If the corpus has no such rows.
    """
    split = split or ("test" if corpus.test else "dev")
    rows: tuple[Row, ...] = getattr(corpus, split)
    if not rows:
        other = "dev" if split == "test" else "test"
        size = len(getattr(corpus, other))
        raise InputError(f"part={split}: corpus {corpus.name} has no such rows; its {other} split has {size}")
    return split, rows if limit is None else replace(corpus, train=rows).subset(limit, seed).train
