"""Define protocols: prompts, strengths, samples, scorers and the perplexity model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lmsteer.data.prompts.selection import PromptSet
from lmsteer.errors import InputError
from lmsteer.evaluation.metric_names import Metric
from lmsteer.steering.budget import Budget
from lmsteer.steering.dimensions import is_strength

if TYPE_CHECKING:
    from lmsteer.models.language_model import LanguageModel
    from lmsteer.scoring.scorer import Scorer

Direction = Literal["positive", "negative"]
Mode = Literal["fair", "published"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The protocol of one evaluation. Prompts and the perplexity model are loaded when they are used.

    Attributes:
        metric: "toxicity" (expected maximum and probability, on continuations), or the name of a share such as
            "positivity" (share of samples with a score above 0.5, on prompt + continuation).
        prompts: Loaders of prompt sets, by key.
        strengths: Strengths of the steer's first dimension; the plain model is always measured.
        one_way: Direction of prompt sets that are steered in one direction only, by key.
        kl: Divergences, in nats per token, to which further rows are calibrated in each direction of ``strengths``.
            None: no such rows.
        perplexity: Multiples of the plain model's perplexity to which further rows are calibrated. None: no such rows.
        calibration_prompts: Maximum number of prompts of each set on which strengths are calibrated.
        held_out: Whether the calibration prompts are left out of the measurement, so that no strength was chosen on a
            prompt whose figures are reported.
        ask: A request to a chat model, such as "Continue this text: {text}", in which plain prompts are asked; of a
            corpus the first words of each text are asked in it, and the rest is the answer. None: they stay plain.
        mode: "fair": every method learns from the same rows, batches and dev prompts, and is sampled alike.
            "published": each follows the recipe of its paper. Runs of the two never share a table.
        dummy: Strength of the dummy dimension in steered rows; the paper uses 1. 0: off.
        seed: Seed of the sampling noise, independent of the training seed, so that rows differ only by their steers.
        scorers: Scorers by key. The metrics of the second and later scorers end in ``@NAME``.
        perplexity_model: Loader of the model that computes the perplexity. None: the unsteered model.
        legacy_perplexity_limit: Perplexity above which a sample is left out of the mean, to measure the effect of the
            reference implementation's limit of 1e4.

    Raises:
        InputError: If there are no strengths or samples, a strength is 0, repeated or not finite, a budget out of range
            or repeated, or a name is not one.
    """

    name: str
    metric: str
    prompts: Mapping[str, Callable[[], PromptSet]] = field(default_factory=dict)
    strengths: Sequence[float] = (-5.0, 5.0)
    one_way: Mapping[str, Direction] = field(default_factory=dict)
    kl: float | Sequence[float] | None = None
    perplexity: float | Sequence[float] | None = None
    calibration_prompts: int = 50
    held_out: bool = False
    mode: Mode = "fair"
    ask: str | None = None
    samples: int = 5
    dummy: float = 0.0
    seed: int = 0
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    perplexity_model: Callable[[], LanguageModel] | None = None
    batch_size: int = 256
    legacy_perplexity_limit: float | None = None

    def __post_init__(self) -> None:
        values = list(self.strengths)
        if not values or len(set(values)) != len(values) or not all(value and is_strength(value) for value in values):
            raise InputError(
                f"protocol.strengths={values}: distinct finite numbers other than 0, which float32 holds, expected"
            )
        for name in ("samples", "batch_size", "calibration_prompts"):
            if getattr(self, name) < 1:
                raise InputError(f"protocol.{name}={getattr(self, name)}: an integer of 1 or more expected")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"protocol.seed={self.seed}: an integer of 0 or more expected")
        if not is_strength(self.dummy):
            raise InputError(f"protocol.dummy={self.dummy}: a finite number that float32 holds expected")
        limit = self.legacy_perplexity_limit
        if limit is not None and not limit > 1:
            raise InputError(f"protocol.legacy_perplexity_limit={limit}: a number above 1 expected")
        if self.ask is not None and self.ask.count("{text}") != 1:
            raise InputError(f"protocol.ask={self.ask!r}: a request with {{text}} once expected, where the text goes")
        self._check_names()
        for direction in self.directions() if self.budgets() and self.prompts else ():
            if not any(self.is_steered(key, direction) for key in self.prompts):
                raise InputError(
                    f"protocol.strengths={values}: no prompt set is steered in the direction {direction:+d}"
                )

    def _check_names(self) -> None:
        if not re.fullmatch(r"[^\s@]+", self.metric) or not Metric(self.metric).is_attribute:
            raise InputError(f"protocol.metric={self.metric!r}: a name without spaces and @ that no other metric has")
        names = [scorer.name for scorer in self.scorers.values()]
        if len(set(names)) != len(names) or not all(re.fullmatch("[^@]+", name) for name in names):
            raise InputError(f"protocol.scorers: names {names}; distinct ones, not empty and without @, expected")
        for key, direction in self.one_way.items():
            if key not in self.prompts or direction not in ("positive", "negative"):
                raise InputError(
                    f"protocol.one_way.{key}={direction}: a prompt set of this protocol "
                    f"({', '.join(self.prompts) or 'it has none'}) and positive or negative expected"
                )

    def budgets(self) -> list[Budget]:
        """Return the budgets to which strengths are calibrated."""
        return [*_budgets("kl", self.kl), *_budgets("perplexity", self.perplexity)]

    def is_steered(self, key: str, strength: float) -> bool:
        """Return whether a prompt set is steered in the direction of a strength."""
        return self.one_way.get(key) in (None, "positive" if strength > 0 else "negative")

    def directions(self) -> list[int]:
        """Return the signs of the strengths, -1 before 1."""
        return sorted({1 if value > 0 else -1 for value in self.strengths})

    def perplexity_model_for(self, model: LanguageModel) -> LanguageModel:
        """Return the model that computes the perplexity; ``model`` is the unsteered model."""
        return self.perplexity_model() if self.perplexity_model else model

    def reserved(self) -> frozenset[str]:
        """Return keys of the texts that scorers were fitted on, on which no steer may be trained."""
        return frozenset[str]().union(*(scorer.reserved for scorer in self.scorers.values()))

    def prompt_sets(self) -> dict[str, PromptSet]:
        """Load the prompts, by key.

        Raises:
            InputError: If the protocol has none, or two sets have one name.
        """
        if not self.prompts:
            raise InputError(f"protocol {self.name}: no prompts; set protocol.prompts")
        loaded = {key: load() for key, load in self.prompts.items()}
        sets = {key: prompts.asked(self.ask) if self.ask else prompts for key, prompts in loaded.items()}
        names = [prompts.name for prompts in sets.values()]
        if len(set(names)) != len(names):
            raise InputError(f"protocol {self.name}: prompt sets have the names {names}; distinct ones expected")
        return sets


def _budgets(kind: Literal["kl", "perplexity"], values: float | Sequence[float] | None) -> list[Budget]:
    numbers = [] if values is None else list(values) if isinstance(values, Sequence) else [values]
    budgets = [Budget(kind, value) for value in numbers]
    if len({budget.label for budget in budgets}) != len(budgets):
        raise InputError(f"protocol.{kind}={numbers}: distinct numbers expected")
    return budgets
