"""Options of a fit and of the steer to fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from lmsteer.errors import InputError
from lmsteer.one_pass.one_pass_config import Form, OnePassConfig
from lmsteer.steering.dimensions import DUMMY

if TYPE_CHECKING:
    from lmsteer.steering.steer import Steer

AUTO_RANK = 64
"""The paper's low rank, for models that are at least as wide."""
Stop = Literal["loss", "control", "none"]


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Options of the training loop; the defaults are the paper's, except for the number of steps.

    Attributes:
        steps: Number of optimizer steps.
        batch_size: Texts per step.
        max_length: Maximum number of tokens used from a text.
        dev_every: Steps between two validations, each of which also saves a checkpoint.
        dev_rows: Maximum number of dev texts.
        rows: Maximum number of training texts, chosen by seed and text and balanced by label; the choice for a smaller
            number is a subset of that for a larger one. None: use all.
        stop: Criterion for the best steer: the dev "loss", the "control" (see ``SteerModule.control``), or "none" for
            the last steer.
        legacy_padding: Count the padding of a training batch in its loss, as the reference implementation does, to
            measure its effect. Hidden states are then not stored; the dev loss never counts padding.
    """

    steps: int = 100
    batch_size: int = 32
    max_length: int = 256
    dev_every: int = 25
    dev_rows: int = 256
    rows: int | None = None
    stop: Stop = "loss"
    legacy_padding: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "dev_every", "dev_rows"):
            if getattr(self, name) < 1:
                raise InputError(f"fit.{name}={getattr(self, name)}: an integer of 1 or more expected")
        if self.rows is not None and self.rows < 2:
            raise InputError(f"fit.rows={self.rows}: 2 rows or more expected, or null for all")
        if self.max_length < 2:
            raise InputError(f"fit.max_length={self.max_length}: 2 or more tokens expected")


@dataclass(frozen=True, kw_only=True)
class SteerConfig:
    """The steer to fit: one attribute, with or without the dummy dimension.

    Attributes:
        name: Name of the attribute's dimension; a label of +1 is its strength +1.
        meaning: Description of positive strength, for people.
        rank: Number of columns of P1 and P2, "full", or "auto": 64, or the width of the model if that is smaller.
        init_std: Standard deviation of the initial weights.
        dummy: Whether to add an always-on dimension that absorbs the corpus' own style (paper, section 3).
        regularization: Weight of the sum of squared parameters in the loss.
        solver: "paper": gradient descent on the loss. "one_pass": one natural-gradient step computed from sums over
            the corpus (docs/one_pass.md); it ignores initial weights, dummy and regularization, and keeps at most
            ``rank`` directions, those above the null distribution.
        form: "matrix": the paper's steer. "add": a constant vector added to the hidden state. "both": their sum. The
            dummy has the same form.
        damping: One-pass solver only: share of the mean eigenvalue added to both covariances.
        context_damping: One-pass solver only: the same for the covariance of contexts. None: use ``damping``.
        permutations: One-pass solver only: label permutations of the null distribution. 0: no null distribution.
    """

    name: str
    meaning: str = ""
    rank: int | Literal["full", "auto"] = "auto"
    epsilon: float = 1e-3
    init_std: float = 1e-2
    dummy: bool = True
    regularization: float = 0.0
    solver: Literal["paper", "one_pass"] = "paper"
    form: Form = "matrix"
    damping: float = 1.0
    context_damping: float | None = None
    permutations: int = 199

    def __post_init__(self) -> None:
        if not 0 <= self.regularization < math.inf:
            raise InputError(f"steer.regularization={self.regularization}: 0 or a number above it expected")
        self.one_pass()  # refuses impossible values, whichever solver is chosen

    def for_width(self, width: int) -> SteerConfig:
        """Return the same options with a rank for hidden states of size ``width`` instead of "auto"."""
        return replace(self, rank=min(AUTO_RANK, width)) if self.rank == "auto" else self

    def one_pass(self) -> OnePassConfig:
        """Return the options of the one-pass solver."""
        return OnePassConfig(
            rank=AUTO_RANK if self.rank == "auto" else self.rank,
            epsilon=self.epsilon,
            damping=self.damping,
            context_damping=self.context_damping,
            permutations=self.permutations,
            form=self.form,
        )

    def build(self, width: int, seed: int) -> Steer:
        """Initialize a steer for hidden states of size ``width``; the attribute is its first dimension.

        Raises:
            InputError: If the rank is not in [1, width] or "full"; ``form="add"`` ignores the rank.
        """
        from lmsteer.steering.steer import Steer  # and torch with it

        rank = self.for_width(width).rank
        assert rank != "auto"
        if rank == 0 and self.form != "add":  # a file may hold a constant alone; here it is a mistake
            raise InputError(f"steer.rank=0: an integer in [1, {width}] or 'full' expected")
        dimensions = (self.name, DUMMY) if self.dummy and self.solver == "paper" else (self.name,)
        return Steer(
            width,
            dimensions=dimensions,
            rank=0 if self.form == "add" else rank,
            epsilon=self.epsilon,
            init_std=self.init_std,
            seed=seed,
            bias=self.form != "matrix",
        )
