"""Options of the one-pass solver; imports no torch."""

import math
from dataclasses import dataclass
from typing import Literal

from lmsteer.errors import InputError

LEVEL = 0.025
"""Significance level: the chance that the largest direction is kept although the labels are unrelated to the texts."""
Form = Literal["matrix", "add", "both"]


def check_permutations(permutations: int) -> None:
    """Refuse numbers of permutations that are too small for ``LEVEL``; 0 means no test.

    Raises:
        InputError: If the number is in [1, 38] or negative.
    """
    fewest = round(1 / LEVEL) - 1
    if permutations and permutations < fewest:
        raise InputError(f"steer.permutations={permutations}: 0 (no permutation test), or {fewest} and more expected")


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """The damping of a natural-gradient step, and whether it is a joint step for a matrix and a bias.

    Attributes:
        damping: Added to A and S before they are inverted, as a fraction of their mean eigenvalue; above 0.
        context_damping: The same for A alone; None: as ``damping``.
        centered: Take a joint step for the matrix and a bias: contexts are taken from their mean, so that the bias gets
            what all of them have in common.

    Raises:
        InputError: If a damping is not a finite number above 0.
    """

    damping: float = 1.0
    context_damping: float | None = None
    centered: bool = False

    def __post_init__(self) -> None:
        for name in ("damping", "context_damping"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"steer.{name}={value}: a finite number above 0 expected")


@dataclass(frozen=True, kw_only=True)
class OnePassConfig:
    """The options of the one-pass solver.

    Attributes:
        rank: Largest number of directions, or "full": all that are significant.
        damping: Fraction of the mean eigenvalue that is added to both covariances.
        context_damping: The same for the covariance of contexts alone; None: as ``damping``.
        permutations: Permutations of the labels in the permutation test; 0: no test, ``rank`` directions.
        form: "matrix": a matrix, as in the paper. "add": a constant vector that is added to every hidden state. "both":
            their sum, of one joint step.

    Raises:
        InputError: If a damping is not above 0, or the number of permutations is not 0 and too small.
    """

    rank: int | Literal["full"] = 64
    epsilon: float = 1e-3
    damping: float = 1.0
    context_damping: float | None = None
    permutations: int = 199
    form: Form = "matrix"

    def __post_init__(self) -> None:
        self.step()
        check_permutations(self.permutations)

    def step(self) -> StepConfig:
        """Return the options of the natural-gradient step."""
        return StepConfig(damping=self.damping, context_damping=self.context_damping, centered=self.form == "both")
