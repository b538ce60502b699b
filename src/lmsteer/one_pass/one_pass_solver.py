"""The one-pass solver as an object with options; imports no torch before it fits."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lmsteer.errors import InputError

if TYPE_CHECKING:
    from lmsteer.data.datamodule import SteerDataModule
    from lmsteer.steering.steer import Steer
    from lmsteer.steering.steer_config import Form, SteerConfig

LEVEL = 0.025
"""Significance level: the chance that the largest direction is kept although the labels are unrelated to the texts."""


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
                raise InputError(f"solver.{name}={value}: a finite number above 0 expected")


@dataclass(frozen=True, kw_only=True)
class OnePassSolver:
    """Fit by one natural-gradient step computed from sums over the corpus (docs/one_pass.md).

    It has no initial weights, dummy, regularization or steps, and keeps at most ``SteerConfig.rank`` directions.

    Attributes:
        damping: Fraction of the mean eigenvalue that is added to both covariances.
        context_damping: The same for the covariance of contexts alone; None: as ``damping``.
        permutations: Permutations of the labels in the test that decides the rank; 0: no test, ``rank`` directions.

    Raises:
        InputError: If a damping is not above 0, or the number of permutations is not 0 and too small.

    Example:
        >>> OnePassSolver(damping=0.3).step("both").centered
        True
    """

    damping: float = 1.0
    context_damping: float | None = None
    permutations: int = 199

    def __post_init__(self) -> None:
        self.step()
        fewest = round(1 / LEVEL) - 1
        if self.permutations and self.permutations < fewest:
            expected = f"0 (no permutation test), or {fewest} and more expected"
            raise InputError(f"solver.permutations={self.permutations}: {expected}")

    def step(self, form: Form = "matrix") -> StepConfig:
        """Return the options of the natural-gradient step."""
        return StepConfig(damping=self.damping, context_damping=self.context_damping, centered=form == "both")

    def dimensions(self, steer_config: SteerConfig) -> tuple[str, ...]:
        """Return the dimension of the attribute; there is no dummy."""
        return (steer_config.name,)

    def fit(
        self, steer_config: SteerConfig, data: SteerDataModule, *, folder: object = None, loggers: object = ()
    ) -> tuple[Steer, dict[str, Any]]:
        """Fit a steer and return it with its options and the result of the permutation test.

        Args:
            folder: Unused, as there is nothing to resume.
            loggers: Unused, as there is no training curve.

        Raises:
            InputError: If the labels are all the same, the texts are too short, or the weights are out of range.
        """
        from lmsteer.one_pass.solver import solve

        data.store_texts()
        steer, result = solve(steer_config, self, data)
        data_options = {"max_length": data.max_length, "dev_rows": data.dev_rows, "rows": data.max_rows}
        options = {"solver": "one_pass", "rank": steer_config.rank, **asdict(self)}
        seen = data.count(data.corpus.train)
        return steer, {**data_options, **options, "seen": seen, "solver_result": result}
