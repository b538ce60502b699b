"""What a strength may cost: divergence from the plain model, or perplexity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lmsteer.errors import InputError


@dataclass(frozen=True)
class Budget:
    """A cost to which strengths are calibrated, so that rows compare at equal cost instead of equal strength.

    Attributes:
        kind: "kl": mean KL(steered || plain) per token of the plain model's own continuations, in nats.
            "perplexity": multiple of the plain model's mean perplexity on the same prompts.
        value: Above 0 nats, or above 1.

    Raises:
        InputError: If the value is out of its range.
    """

    kind: Literal["kl", "perplexity"]
    value: float

    def __post_init__(self) -> None:
        lowest = 0 if self.kind == "kl" else 1
        if not lowest < self.value < math.inf:
            raise InputError(
                f"protocol.{self.kind}={self.value}: a finite number above {lowest} expected, a list of them, or null"
            )

    @property
    def label(self) -> str:
        """``kl 0.3`` or ``perplexity ×2``."""
        return f"{self.kind} {'×' if self.kind == 'perplexity' else ''}{self.value:g}"
