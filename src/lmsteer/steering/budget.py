"""Budgets for the cost of a strength: divergence from the plain model, or perplexity."""

import math
from dataclasses import dataclass
from typing import Literal

from lmsteer.errors import InputError


@dataclass(frozen=True)
class Budget:
    """A cost to which strengths are calibrated, to compare rows at equal cost instead of equal strength.

    Attributes:
        kind: "kl": mean KL(steered || plain) per token of the plain model's own continuations, in nats.
            "perplexity": multiple of the plain model's mean perplexity on the same prompts.
        value: The budget: above 0 nats, or a ratio above 1.

    Raises:
        InputError: If the value is out of range.
    """

    kind: Literal["kl", "perplexity"]
    value: float

    def __post_init__(self) -> None:
        minimum = 0 if self.kind == "kl" else 1
        if not minimum < self.value < math.inf:
            raise InputError(
                f"protocol.{self.kind}={self.value}: a finite number above {minimum} expected, a list of them, or null"
            )

    @property
    def label(self) -> str:
        """The budget in words: ``kl 0.3`` or ``perplexity ×2``."""
        return f"{self.kind} {'×' if self.kind == 'perplexity' else ''}{self.value:g}"
