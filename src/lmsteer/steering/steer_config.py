"""Options of the steer to fit; imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from lmsteer.errors import InputError
from lmsteer.steering.dimensions import DUMMY

if TYPE_CHECKING:
    from lmsteer.steering.steer import Steer

AUTO_RANK = 64
"""The paper's low rank, for models that are at least as wide."""
Form = Literal["matrix", "add", "both"]


@dataclass(frozen=True, kw_only=True)
class SteerConfig:
    """The steer to fit: one attribute, with or without the dummy dimension.

    Attributes:
        name: Name of the attribute's dimension; a label of +1 is its strength +1.
        meaning: Description of positive strength, for people.
        rank: Number of columns of P1 and P2, "full", or "auto": 64, or the width of the model if that is smaller. The
            one-pass solver keeps at most so many directions, those above the null distribution.
        init_std: Standard deviation of the initial weights; for the gradient solver.
        dummy: Whether to add an always-on dimension that absorbs the corpus' own style (paper, section 3); for the
            gradient solver.
        regularization: Weight of the sum of squared parameters in the loss; for the gradient solver.
        form: "matrix": the paper's steer. "add": a constant vector added to the hidden state. "both": their sum. The
            dummy has the same form.

    Example:
        >>> SteerConfig(name="tone", rank=4).build(32, seed=0).dimensions
        ('tone', 'dummy')
    """

    name: str
    meaning: str = ""
    rank: int | Literal["full", "auto"] = "auto"
    epsilon: float = 1e-3
    init_std: float = 1e-2
    dummy: bool = True
    regularization: float = 0.0
    form: Form = "matrix"

    def __post_init__(self) -> None:
        if not 0 <= self.regularization < math.inf:
            raise InputError(f"steer.regularization={self.regularization}: 0 or a number above it expected")

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The attribute, and the dummy where there is one."""
        return (self.name, DUMMY) if self.dummy else (self.name,)

    def for_width(self, width: int) -> SteerConfig:
        """Return the same options with a rank for hidden states of size ``width`` instead of "auto"."""
        return replace(self, rank=min(AUTO_RANK, width)) if self.rank == "auto" else self

    def build(self, width: int, seed: int, dimensions: Sequence[str] | None = None) -> Steer:
        """Initialize a steer for hidden states of size ``width``; the attribute is its first dimension.

        Args:
            dimensions: Names of its dimensions; None: ``self.dimensions``.

        Raises:
            InputError: If the rank is not in [1, width] or "full"; ``form="add"`` ignores the rank.
        """
        from lmsteer.steering.steer import Steer  # and torch with it

        rank = self.for_width(width).rank
        assert rank != "auto"
        if rank == 0 and self.form != "add":  # a file may hold a constant alone; here it is a mistake
            raise InputError(f"steer.rank=0: an integer in [1, {width}] or 'full' expected")
        return Steer(
            width,
            dimensions=self.dimensions if dimensions is None else dimensions,
            rank=0 if self.form == "add" else rank,
            epsilon=self.epsilon,
            init_std=self.init_std,
            seed=seed,
            bias=self.form != "matrix",
        )
