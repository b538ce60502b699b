"""A protocol: what is generated at which strengths, and what scores it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmsteer.data.prompts import PromptSet
from lmsteer.errors import InputError
from lmsteer.reporting.metric import Metric
from lmsteer.scoring.scorer import Scorer
from lmsteer.steering.model import LanguageModel
from lmsteer.steering.steer import DUMMY


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One table: prompts, strengths, samples, scorers and judge. Prompts and judge are loaded when asked for.

    Attributes:
        metric: "toxicity" (expected maximum and probability, on continuations), or the name of a share such as
            "positivity" (share of samples with a score above 0.5, on prompt + continuation).
        strengths: Strengths of the steer's first dimension; the plain model is always measured too.
        dummy: Strength of the dummy dimension in the steered rows; 0 is off, the paper leaves it on at 1.
        scorers: The first gives the metric its plain name, further ones have theirs in it.
        judge: The model whose perplexity is reported; None: the unsteered model itself.

    Raises:
        InputError: If there are no strengths or samples, a strength is 0, repeated or not finite, or names of
            scorers are not distinct.
    """

    name: str
    metric: str
    prompts: Callable[[], PromptSet] | None = None
    strengths: Sequence[float] = (-5.0, 5.0)
    samples: int = 5
    dummy: float = 0.0
    scorers: Sequence[Scorer] = ()
    judge: Callable[[], LanguageModel] | None = None
    batch_size: int = 256

    def __post_init__(self) -> None:
        values = list(self.strengths)
        if not values or len(set(values)) != len(values) or not all(value and math.isfinite(value) for value in values):
            raise InputError(f"protocol.strengths={values}: distinct finite numbers other than 0 expected")
        for name in ("samples", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"protocol.{name}={getattr(self, name)}: an integer of 1 or more expected")
        if not re.fullmatch(r"[^\s@]+", self.metric) or not Metric(self.metric).is_attribute:
            raise InputError(f"protocol.metric={self.metric!r}: a name without spaces and @ that no other metric has")
        names = [scorer.name for scorer in self.scorers]
        if len(set(names)) != len(names) or not all(re.fullmatch("[^@]+", name) for name in names):
            raise InputError(f"protocol.scorers: names {names}; distinct ones, not empty and without @, expected")

    def settings(self, dimension: str) -> list[dict[str, float]]:
        """Strengths by name: the plain model first, then ``dimension`` in rising order."""
        always = {DUMMY: self.dummy} if self.dummy else {}
        return [{}, *({dimension: float(value), **always} for value in sorted(self.strengths))]

    def reserved(self) -> frozenset[str]:
        """Keys of texts that scorers were fitted on, so that no steer is."""
        return frozenset[str]().union(*(scorer.reserved for scorer in self.scorers))

    def prompt_set(self) -> PromptSet:
        """Load the prompts.

        Raises:
            InputError: If the protocol has none.
        """
        if self.prompts is None:
            raise InputError(f"protocol {self.name}: no prompts; set protocol.prompts")
        return self.prompts()
