"""The cells of the study: two attributes at every pair of strengths, and both in a wrong way."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from lmsteer.errors import InputError
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.protocol import Protocol
from lmsteer.generation.decoding import Decoding
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.composition import added
from lmsteer.steering.steer import Steer

BOTH, FACTORS_ADDED = "both attributes", "factors added"


def study_steer(pair: Steer) -> Steer:
    """A steer of two attributes with two more dimensions.

    ``both attributes`` is the sum of the matrices, so that strength v is (v, v); strengths are calibrated along it.
    ``factors added`` is ``(P1 + P1') (P2 + P2')^T``, which is not their sum, but has been taken for it.

    Raises:
        InputError: If there are not two attributes, or they are full and so have no factors.
    """
    if len(pair.dimensions) != 2:
        raise InputError(f"steer_files: attributes {', '.join(pair.dimensions)}; two expected, one of each file")
    if pair.p2 is None:
        raise InputError("steer_files: a full steer has no factors to add; low-rank ones expected")
    if pair.bias is not None:
        raise InputError("steer_files: a steer with a constant part; matrices alone expected")
    parts = {name: pair.factors(k) for k, name in enumerate(pair.dimensions)}
    both = added(list(parts.values()))
    wrong = pair.p1.detach().sum(0), pair.p2.detach().sum(0)
    return Steer.from_factors(parts | {BOTH: both, FACTORS_ADDED: wrong}, epsilon=pair.epsilon)


def cross_terms(steer: Steer) -> float:
    """Size of what adding factors brings in beside the sum of the matrices, over the size of that sum (Frobenius)."""
    both, wrong = (steer.matrix(steer.dimensions.index(name)).T.detach() for name in (BOTH, FACTORS_ADDED))
    return float((wrong - both).norm() / both.norm())


class Grid(Plan):
    """Every pair of the protocol's strengths and 0, both attributes at a calibrated strength, and factors added.

    Args:
        pair: Names of the two attributes.
    """

    def __init__(self, model: LanguageModel, pair: Sequence[str], protocol: Protocol, decoding: Decoding) -> None:
        super().__init__(model, [BOTH], protocol, decoding)
        self.pair = tuple(pair)

    def settings(self, key: str, calibration: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, float], str]]:
        """Strengths by name and the budget of each: the grid, the calibrated ones, then factors added."""
        given = sorted(float(value) for value in self.protocol.strengths)
        cells = [values for values in itertools.product(sorted({0.0, *given}), repeat=2) if any(values)]
        found = [(dict(zip(self.pair, values, strict=True)), "") for values in cells]
        reached = [
            (float(entry["strength"]), str(entry["budget"]))
            for entry in self.calibrated(calibration)
            if entry["strength"] is not None
        ]
        found += [(dict.fromkeys(self.pair, value), budget) for value, budget in reached]
        beside = [value for value in [*given, *(value for value, _ in reached)] if value > 0]
        return found + [({FACTORS_ADDED: value}, "") for value in beside]
