"""Read a steer: which directions it has, what they say of words and contexts, and which carry the attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from pydantic import JsonValue

from lmsteer.analysis.direction_evidence import Judged, read
from lmsteer.analysis.interpretation_file import Chance, Direction, Interpretation, Kept
from lmsteer.analysis.top_tokens import Description, Shown
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
    shown: Shown | None = None,
    *,
    more: Sequence[str] = (),
    facts: Mapping[str, JsonValue] | None = None,
    seed: int = 0,
) -> Interpretation:
    """Take a dimension of a steer apart and read labelled texts with it.

    The signs of a direction's two vectors are arbitrary, but for their product. They are chosen such that its mean
    activation is positive: plus words are those that a positive strength raises in the mean context.

    Args:
        rows: Texts that the steer has not seen. Those with label 0 count for words and contexts, but not as evidence.
        more: Further texts, whose words may be shown.
        facts: What else is to be said of the steer and the texts.
        seed: Of the random matrices, and of the bootstrap over texts.

    Raises:
        InputError: If the steer has no such dimension, it is zero or has a constant part, no text has two tokens, or
            the labels are not of both signs.
    """
    shown, texts, labels = shown or Shown(), [row.text for row in rows], [row.label for row in rows]
    if dimension not in steer.dimensions:
        raise InputError(f"dimension={dimension}: the steer's dimensions are {', '.join(steer.dimensions)}")
    if steer.bias is not None:
        raise InputError("the steer has a constant part, which has no directions; one of form=matrix can be read")
    found = steer.directions(steer.dimensions.index(dimension))
    Judged(torch.zeros(len(rows), 1), labels)  # refuses the labels before the long work
    draws = [randomized(found, seed + draw) for draw in range(shown.draws)]
    extract = FeatureExtractor(model)
    reading = read(extract, texts, [found, *draws])
    signs_R = torch.where(reading.activation_NR.mean(0) < 0, -1.0, 1.0)
    found, reading = found.turned(signs_R.double()), reading.turned(signs_R)
    judged = [Judged(one, labels, seed=seed) for one in (reading.alike(found), *reading.evidence_BR)]
    description = Description(extract, found, reading, texts, shown, more)
    return _joined(description, judged, {"dimension": dimension, **(facts or {})})


def _joined(description: Description, judged: Sequence[Judged], facts: Mapping[str, JsonValue]) -> Interpretation:
    """Everything, of what was judged: the steer as a constant, itself, and random matrices."""
    found, reading, (alike, own, *others) = description.found, description.reading, judged
    rank, plus = len(found.sizes_R), int(own.plus_B.sum())
    counts = {"rank": rank, "plus": plus, "minus": len(own.plus_B) - plus, "tokens": len(reading.targets_N)}
    several = range(min(description.shown.directions, rank))
    return Interpretation(
        facts={**facts, **counts},
        effective_rank=effective_rank(found.energy_R),
        participation_ratio=participation_ratio(found.energy_R),
        holding=directions_holding(found.energy_R, HELD),
        sizes=found.sizes_R.tolist(),
        energy=found.energy_R.tolist(),
        separation=float(own.separation.sum()),
        evidence=own.shares.tolist(),
        auc=own.alone.tolist(),
        cumulative=own.together.tolist(),
        kept=[Kept(k=k, auc=own.interval(slice(k))) for k in _doubling(rank)],
        alike=alike.interval(slice(None)),
        chance=_chance(others),
        overall=description.overall(),
        directions=[_direction(i, description, own, alike) for i in several],
    )


def _direction(i: int, description: Description, judged: Judged, alike: Judged) -> Direction:
    activation_N = description.reading.activation_NR[:, i]
    return Direction(
        number=i + 1,
        size=float(description.found.sizes_R[i]),
        energy=float(description.found.energy_R[i]),
        evidence=float(judged.shares[i]),
        auc=judged.interval(i),
        alike=float(alike.alone[i]),
        activation=float(activation_N.mean()),
        acting=float((activation_N > 0).float().mean()),
        change=description.change(i),
        output=description.output(i),
        context=description.context(i),
        contexts=description.contexts(i),
    )


def _doubling(most: int) -> list[int]:
    """1, 2, 4, … and ``most``."""
    return [*(2**n for n in range(most.bit_length()) if 2**n < most), most]


def _chance(others: Sequence[Judged]) -> Chance | None:
    if not others:
        return None
    curves = np.stack([other.together for other in others])
    return Chance(draws=len(others), low=curves.min(0).tolist(), high=curves.max(0).tolist())


def unseen(corpus: Corpus, part: str | None, most: int | None, seed: int) -> tuple[str, tuple[Row, ...]]:
    """Rows on which no steer is trained, and the name of their part.

    Raises:
        InputError: If the corpus has none.
    """
    part = part or ("test" if corpus.test else "dev")
    rows: tuple[Row, ...] = getattr(corpus, part)
    if not rows:
        other = "dev" if part == "test" else "test"
        found = len(getattr(corpus, other))
        raise InputError(f"part={part}: corpus {corpus.name} has no such rows; its {other} part has {found}")
    return part, rows if most is None else replace(corpus, train=rows).subset(most, seed).train
